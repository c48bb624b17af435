// Each package manager installs the tarball without any scripts. The result is used by ES modules,
// by CommonJS, and by the output of TypeScript for Node and for bundlers.

import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const tarball = './stillframe.tgz'
const types = '@types/node@20'
const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
/**
 * Yarn patches TypeScript so that it can read Yarn's archives, which works only for versions
 * written in JavaScript.
 */
const typescript = 'typescript@7'
const typescriptForYarn = 'typescript@5.9'
const strictly = '--strict --target es2023 --lib es2023,esnext.disposable --types node'

/** By name in the table: the program (npm comes with Node), and how to install. */
const managers = {
  npm: {
    bin: 'bin/npm-cli.js',
    install: ['install', ...quietly, tarball, types, typescript],
  },
  'pnpm 10': {
    package: 'pnpm@10',
    bin: 'bin/pnpm.cjs',
    install: ['add', '--ignore-scripts', tarball, types, typescript],
  },
  'Yarn 1': {
    package: 'yarn@1',
    bin: 'bin/yarn.js',
    install: ['add', '--ignore-scripts', '--non-interactive', `file:${tarball}`, types, typescript],
  },
  'Yarn 4, node_modules': {
    package: '@yarnpkg/cli-dist@4',
    bin: 'bin/yarn.js',
    settings: { nodeLinker: 'node-modules' },
    install: ['add', `stillframe@file:${tarball}`, types, typescript],
  },
  'Yarn 4, Plug’n’Play': {
    package: '@yarnpkg/cli-dist@4',
    bin: 'bin/yarn.js',
    settings: { nodeLinker: 'pnp' },
    install: ['add', `stillframe@file:${tarball}`, types, typescriptForYarn],
    // Only programs that it starts can read its archives.
    runner: ['node'],
  },
}

export async function tryManagers(tools, table) {
  for (const [name, manager] of Object.entries(managers))
    for (const version of tools.nodes) await tryManager(tools, table, name, manager, version)
}

async function tryManager(tools, table, name, { package: wanted, bin, settings, install, runner }, version) {
  const program = path.join(wanted ? packageOf(tools, wanted) : tools.npm(version), bin)
  const place = tools.project('manager')
  const variables = {
    npm_config_store_dir: path.join(tools.home, 'pnpm-store'),
    // Not kept: Yarn 1 mistakes any tarball with the same name and version for the one it has.
    YARN_CACHE_FOLDER: path.join(tools.work, `yarn-cache-${settings ? 4 : 1}`),
  }
  if (settings) {
    const all = { ...settings, enableScripts: false, enableTelemetry: false, enableGlobalCache: false }
    writeFileSync(path.join(place, '.yarnrc.yml'), JSON.stringify(all))
    // Without a lock file here, Yarn takes a parent directory for the project.
    writeFileSync(path.join(place, 'yarn.lock'), '')
  }
  const run = (words) => tools.run(version, place, words, variables)
  const use = (script) =>
    tools.check(version, place, [...(runner ? [program, ...runner] : []), script], variables)

  let installed = false
  await table.fill(`${name}: ES modules`, version, () => {
    run([program, ...install])
    installed = true
    use('esm.mjs')
    if (runner && existsSync(path.join(place, 'node_modules/stillframe')))
      throw new Error(`${name} has made a node_modules`)
  })
  if (!installed) return
  await table.fill(`${name}: CommonJS`, version, () => use('commonjs.cjs'))
  const compiler = runner ? [program, 'tsc'] : [path.join('node_modules/typescript/bin', compilerIn(place))]
  for (const [resolution, module] of [
    ['nodenext', 'nodenext'],
    ['bundler', 'esnext'],
  ])
    await table.fill(`${name}: TypeScript, \`${resolution}\``, version, () => {
      const modules = `--module ${module} --moduleResolution ${resolution} --rootDir . --outDir ${resolution}`
      run([...compiler, ...strictly.split(' '), ...modules.split(' '), 'typed.mts'])
      use(`${resolution}/typed.mjs`)
    })
}

function packageOf(tools, wanted) {
  const [, name, range] = /^(.+)@(.+)$/.exec(wanted)
  return path.join(tools.packages(wanted.replaceAll(/[/@]/g, '-'), { [name]: range }), name)
}

/** The compiler's script in its package, whose name has changed once. */
function compilerIn(place) {
  const bin = path.join(place, 'node_modules/typescript/bin')
  return readdirSync(bin).find((name) => /^tsc(\.m?js)?$/.test(name)) ?? 'tsc'
}
