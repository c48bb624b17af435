#!/usr/bin/env node
// Checks (or fixes) the form of everything in the repository.
//
//   npm run lint                 biome, clang-format, clang-tidy, that every mutant still applies,
//                                that includes and imports point down, and that prose is at most
//                                100 columns wide
//   npm run lint -- clang-tidy   only these: biome | clang-format | clang-tidy | mutants | layers |
//                                widths
//   npm run format               fixes what can be fixed: biome and clang-format
//
// biome is a development dependency. clang-format and clang-tidy are Debian packages of the same
// name: without them the check is skipped and reported as such, or fails in CI (environment
// variable CI set).

import { spawn, spawnSync } from 'node:child_process'
import { existsSync, readFileSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
process.chdir(root)

const { fix, wanted } = parseArguments(process.argv.slice(2))
const checks = {
  biome: () => run('node_modules/.bin/biome', ['check', '--error-on-warnings', ...(fix ? ['--write'] : [])]),
  'clang-format': () => withTool('clang-format', clangFormat),
  'clang-tidy': () => (fix ? true : withTool('clang-tidy', clangTidy)),
  mutants: () => (fix ? true : run('node', ['scripts/mutants.mjs', '--check'])),
  layers: () => (fix ? true : run('node', ['scripts/check-layers.mjs'])),
  widths: () => (fix ? true : run('node', ['scripts/check-widths.mjs'])),
}

let failed = false
for (const [name, check] of Object.entries(checks)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue
  const started = performance.now()
  const result = await check()
  if (result === 'skipped') continue
  const seconds = ((performance.now() - started) / 1000).toFixed(1)
  console.log(`${result ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)`)
  failed ||= !result
}
process.exit(failed ? 1 : 0)

function parseArguments(args) {
  const known = ['biome', 'clang-format', 'clang-tidy', 'mutants', 'layers', 'widths']
  const wanted = args.filter((arg) => arg !== '--fix')
  const unknown = wanted.filter((arg) => !known.includes(arg))
  if (unknown.length > 0) {
    console.error(`usage: lint.mjs [--fix] [${known.join('|')}]...`)
    process.exit(unknown.includes('--help') ? 0 : 2)
  }
  return { fix: args.includes('--fix'), wanted }
}

function run(command, args) {
  return spawnSync(command, args, { stdio: ['ignore', 'inherit', 'inherit'] }).status === 0
}

function withTool(tool, check) {
  if (spawnSync(tool, ['--version'], { stdio: 'ignore' }).status === 0) return check()
  console.error(`MISSING ${tool}: not checked. Install it (Debian: apt-get install ${tool}).`)
  failed ||= Boolean(process.env.CI)
  return 'skipped'
}

/** C++ files that git knows or would add, so that no build directory is searched. */
function nativeFiles() {
  const listing = spawnSync(
    'git',
    ['ls-files', '-co', '--exclude-standard', '--', 'native', 'bench/native'],
    {
      encoding: 'utf8',
    },
  )
  const files = listing.stdout.split('\n').filter((file) => /\.(cc|h)$/.test(file) && existsSync(file))
  if (files.length === 0) throw new Error('no C++ files found below native/')
  return files
}

function clangFormat() {
  if (fix) return run('clang-format', ['-i', ...nativeFiles()])
  const { status, stderr } = spawnSync('clang-format', ['--dry-run', '-Werror', ...nativeFiles()], {
    encoding: 'utf8',
  })
  // One complaint per line is too much to read, and `npm run format` fixes them all: name only the
  // files and lines.
  const places = stderr.split('\n').filter((line) => /: (error|warning): /.test(line))
  for (const place of new Set(places.map((line) => line.split(':').slice(0, 2).join(':')))) {
    console.error(`${place} is not formatted (npm run format)`)
  }
  if (status !== 0 && places.length === 0) console.error(stderr)
  return status === 0
}

/** One clang-tidy per source file, as many at a time as there are processors. */
async function clangTidy() {
  // The largest first, since the last one to finish should be small. Without the tests: most of the
  // time would go to the macros of GoogleTest, for code that two compilers warn about and that the
  // sanitizers run.
  const sources = nativeFiles().filter((file) => file.endsWith('.cc') && !isTest(file))
  sources.sort((a, b) => statSync(b).size - statSync(a).size)
  let ok = true
  const worker = async () => {
    for (let file = sources.shift(); file; file = sources.shift()) {
      const report = await tidyOne(file)
      if (report) {
        ok = false
        console.error(report)
      }
    }
  }
  await Promise.all(Array.from({ length: os.availableParallelism() }, worker))
  return ok
}

function tidyOne(file) {
  return new Promise((resolve, reject) => {
    // The analyzer takes two thirds of the time, which CI cannot afford.
    const checks = process.env.CI ? ['--checks=-clang-analyzer-*'] : []
    const child = spawn('clang-tidy', ['--quiet', ...checks, file, '--', ...compilerFlags(file)], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let report = ''
    let noise = ''
    child.stdout.on('data', (chunk) => (report += chunk))
    child.stderr.on('data', (chunk) => (noise += chunk))
    child.on('error', reject)
    child.on('close', (status) =>
      resolve(status === 0 ? '' : report || noise || `clang-tidy ${file}: status ${status}`),
    )
  })
}

/** Tests and benchmarks. */
function isTest(file) {
  return file.startsWith('native/test/') || file.startsWith('bench/')
}

function compilerFlags(file) {
  const flags = [
    '-xc++',
    '-std=c++20',
    '-Wall',
    '-Wextra',
    '-D_FILE_OFFSET_BITS=64',
    '-Inative',
    '-isystem',
    'node_modules/xxhash-addon/xxHash',
    '-isystem',
    'node_modules/zstd-napi/deps/zstd/lib',
  ]
  if (isTest(file)) {
    const gtest = process.env.GTEST_DIR ?? '/usr/src/googletest/googletest'
    flags.push('-isystem', `${gtest}/include`)
  }
  if (/^native\/(addon|heap)\//.test(file)) {
    flags.push('-DNAPI_VERSION=9', '-DNAPI_DISABLE_CPP_EXCEPTIONS', '-DNODE_ADDON_API_DISABLE_DEPRECATED')
    flags.push('-DBUILDING_NODE_EXTENSION', '-isystem', 'node_modules/node-addon-api')
    flags.push('-isystem', nodeHeaders())
  }
  return flags
}

/**
 * The directory of Node's headers: the one that the last build used, the one next to the binary, or
 * that of a checkout.
 */
function nodeHeaders() {
  const candidates = [process.env.npm_config_nodedir, path.dirname(path.dirname(process.execPath))]
  if (existsSync('build/config.gypi')) {
    candidates.unshift(/"nodedir": "([^"]+)"/.exec(readFileSync('build/config.gypi', 'utf8'))?.[1])
  }
  for (const candidate of candidates) {
    const headers = candidate && path.join(candidate, 'include/node')
    if (headers && existsSync(path.join(headers, 'node_api.h'))) return headers
  }
  throw new Error('no headers of Node found; build the addon first (npm run build:native)')
}
