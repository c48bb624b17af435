#!/usr/bin/env node
// Tries real bundlers on an installed package, with the settings that docs/BUNDLERS.md shows.
//
//   node scripts/check-bundlers.mjs PROJECT
//
// PROJECT is a directory with stillframe, esbuild, rollup, @rollup/plugin-node-resolve, webpack,
// webpack-cli and vite in its node_modules. With the documented settings the bundle works. With
// everything bundled, in each format, it says that this must not be done.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { existsSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { commandIn, fileOf } from './installs/documented.mjs'

process.chdir(process.argv[2] ?? fail('name a project'))

const program = `
import { Region } from 'stillframe'
import { snapshotState } from 'stillframe/heap'
const outcomeOf = (use) => {
  try {
    use()
    return 'works'
  } catch (error) {
    return error.code + ' ' + error.message
  }
}
console.log(JSON.stringify([
  outcomeOf(() => Region.allocate(4096).close()),
  outcomeOf(() => Region.allocate(4096, { shared: true }).close()),
  outcomeOf(() => snapshotState('bundled.state', (out) => out.write('x')).abort()),
]))
`
writeFileSync('app.mjs', program)

/** With the documented settings everything works. */
const documented = {
  esbuild: ['esbuild', ...commandIn('esbuild').slice(1)],
  rollup: ['rollup', '--config', configurationOf('rollup.config.mjs')],
  webpack: ['webpack', '--config', configurationOf('webpack.config.mjs')],
  vite: ['vite', 'build', '--config', configurationOf('vite.config.mjs')],
}
for (const [name, command] of Object.entries(documented)) {
  const outcomes = outcomesOf(command, name === 'vite' ? ['out/app.mjs', 'out/app.js'] : ['out/app.mjs'])
  assert.deepEqual(outcomes, ['works', 'works', 'works'], name)
  console.log(`${name}, external: works`)
}

/** With everything in the bundle, it says what to do. */
const everything = {
  'esbuild to ESM': [
    'esbuild',
    'app.mjs',
    '--bundle',
    '--platform=node',
    '--format=esm',
    '--outfile=out/app.mjs',
  ],
  'esbuild to CommonJS': [
    'esbuild',
    'app.mjs',
    '--bundle',
    '--platform=node',
    '--format=cjs',
    '--outfile=out/app.cjs',
  ],
  'rollup to ESM': ['rollup', 'app.mjs', '--plugin', 'node-resolve', '--format=es', '--file=out/app.mjs'],
  'rollup to CommonJS': [
    'rollup',
    'app.mjs',
    '--plugin',
    'node-resolve',
    '--format=cjs',
    '--file=out/app.cjs',
  ],
  'vite to ESM': [
    'vite',
    'build',
    '--config',
    written(
      'vite-all.mjs',
      "export default { ssr: { noExternal: true }, build: { ssr: 'app.mjs', outDir: 'out' } }",
    ),
  ],
}
for (const [name, command] of Object.entries(everything)) {
  for (const outcome of outcomesOf(command, ['out/app.mjs', 'out/app.cjs', 'out/app.js'])) {
    assert.match(outcome, /^ERR_STILLFRAME_ABI .*--external:stillframe/, name)
    assert.doesNotMatch(outcome, /node-gyp/, name)
  }
  console.log(`${name}, bundled: says what to do`)
}

/**
 * webpack embeds the original path of the code in the bundle: there the bundle works, and elsewhere
 * it says what to do.
 */
const webpack = `export default {
  mode: 'production', target: 'node', entry: './app.mjs',
  output: { path: import.meta.dirname + '/out', filename: 'app.cjs' }
}`
const bundle = ['webpack', '--config', written('webpack-all.mjs', webpack)]
assert.deepEqual(outcomesOf(bundle, ['out/app.cjs']), ['works', 'works', 'works'])
renameSync('node_modules/stillframe', 'node_modules/elsewhere')
try {
  for (const outcome of JSON.parse(run(process.execPath, ['out/app.cjs'])))
    assert.match(outcome, /^ERR_STILLFRAME_ABI .*--external:stillframe/, 'webpack')
} finally {
  renameSync('node_modules/elsewhere', 'node_modules/stillframe')
}
console.log('webpack, bundled: works until the package has moved, then says what to do')

/** Bundles, and runs the result. */
function outcomesOf([bin, ...args], candidates) {
  rmSync('out', { recursive: true, force: true })
  run(path.resolve('node_modules/.bin', bin), args)
  const made = candidates.find((file) => existsSync(file))
  assert(made !== undefined, `${bin} made none of ${candidates.join(', ')}`)
  return JSON.parse(run(process.execPath, [made]))
}

function run(command, args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: 'utf8' })
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${error ?? stderr + stdout}`)
  return stdout
}

/** Writes the file that the document shows under that name. */
function configurationOf(name) {
  return written(name, fileOf(name))
}

function written(name, text) {
  writeFileSync(name, text)
  return name
}

function fail(reason) {
  console.error(`check-bundlers: ${reason}`)
  process.exit(1)
}
