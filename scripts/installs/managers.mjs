// Each package manager installs the tarball without any script, and what it has installed is used by ES modules, by
// CommonJS, and by what TypeScript makes for Node and for bundlers.

import { existsSync, readdirSync, writeFileSync } from 'node:fs'
import path from 'node:path'

const tarball = './stillframe.tgz'
const types = '@types/node@20'
const quietly = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
/** Yarn makes TypeScript look into its archives by changing it, which it can do with those that are JavaScript. */
const typescript = 'typescript@7'
const typescriptForYarn = 'typescript@5.9'

/** By their names in the table: what they are, and how they install. */
const managers = {
  npm: {
    // As they come with Node.
    package: (version) => (version.startsWith('20') ? 'npm@10' : 'npm@11'),
    bin: 'bin/npm-cli.js',
    install: ['install', ...quietly, tarball, types, typescript],
  },
  'pnpm 10': {
    package: () => 'pnpm@10',
    bin: 'bin/pnpm.cjs',
    install: ['add', '--ignore-scripts', tarball, types, typescript],
  },
  'Yarn 1': {
    package: () => 'yarn@1',
    bin: 'bin/yarn.js',
    install: ['add', '--ignore-scripts', '--non-interactive', `file:${tarball}`, types, typescript],
  },
  'Yarn 4, node_modules': {
    package: () => '@yarnpkg/cli-dist@4',
    bin: 'bin/yarn.js',
    settings: { nodeLinker: 'node-modules' },
    install: ['add', `stillframe@file:${tarball}`, types, typescript],
  },
  'Yarn 4, Plug’n’Play': {
    package: () => '@yarnpkg/cli-dist@4',
    bin: 'bin/yarn.js',
    settings: { nodeLinker: 'pnp' },
    install: ['add', `stillframe@file:${tarball}`, types, typescriptForYarn],
    // What is in its archives is found by programs that it has started.
    runner: ['node'],
  },
}

export async function tryManagers(tools, table) {
  for (const [name, manager] of Object.entries(managers))
    for (const version of tools.nodes) await tryManager(tools, table, name, manager, version)
}

async function tryManager(tools, table, name, { package: of, bin, settings, install, runner }, version) {
  const wanted = of(version)
  const [, id, range] = /^(.+)@(.+)$/.exec(wanted)
  const program = path.join(tools.packages(wanted.replaceAll(/[/@]/g, '-'), { [id]: range }), id, bin)
  const place = tools.project('manager')
  const variables = {
    npm_config_store_dir: path.join(tools.home, 'pnpm-store'),
    YARN_CACHE_FOLDER: path.join(tools.home, `yarn-cache-${settings ? 4 : 1}`),
  }
  if (settings) {
    const all = { ...settings, enableScripts: false, enableTelemetry: false, enableGlobalCache: false }
    writeFileSync(path.join(place, '.yarnrc.yml'), JSON.stringify(all))
    // Without a lock file of its own Yarn takes a directory above for the project.
    writeFileSync(path.join(place, 'yarn.lock'), '')
  }
  let installed = false
  await table.fill(`${name}: ES modules`, version, () => {
    tools.run(version, place, [program, ...install], variables)
    installed = true
    tools.check(version, place, runner ? [program, ...runner, 'esm.mjs'] : ['esm.mjs'], variables)
    if (runner && existsSync(path.join(place, 'node_modules/stillframe')))
      throw new Error(`${name} has made a node_modules`)
  })
  if (!installed) return
  const inProject = (words) => (runner ? [program, ...runner, ...words] : words)
  await table.fill(`${name}: CommonJS`, version, () =>
    tools.check(version, place, inProject(['commonjs.cjs']), variables),
  )
  for (const [resolution, module] of [
    ['nodenext', 'nodenext'],
    ['bundler', 'esnext'],
  ])
    await table.fill(`${name}: TypeScript, \`${resolution}\``, version, () => {
      const compiler = runner
        ? [program, 'tsc']
        : [path.join('node_modules', 'typescript', compilerIn(place))]
      const options = `--strict --target es2023 --lib es2023,esnext.disposable --types node --rootDir . --outDir out-${resolution}`
      tools.run(
        version,
        place,
        [
          ...compiler,
          ...options.split(' '),
          '--module',
          module,
          '--moduleResolution',
          resolution,
          'typed.mts',
        ],
        variables,
      )
      tools.check(version, place, inProject([`out-${resolution}/typed.mjs`]), variables)
    })
}

/** The script of the compiler in its package, which has been moved once. */
function compilerIn(place) {
  const bin = path.join(place, 'node_modules/typescript/bin')
  return path.join('bin', readdirSync(bin).find((name) => /^tsc(\.m?js)?$/.test(name)) ?? 'tsc')
}
