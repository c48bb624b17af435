#!/usr/bin/env node
// Removes one safety line at a time and requires that a test fails.
//
//   npm run test:mutants                   every mutant of scripts/mutants/, one file per room
//   npm run test:mutants -- --only fsync   those whose name contains the words; repeatable
//   npm run test:mutants -- --part 2/4     the second quarter: parts may run in parallel, or on
//                                          different days
//   npm run test:mutants -- --check        only checks that every search text occurs exactly once
//   npm run test:mutants -- --list
//
// A mutant: { "name": "rename before fsync",  what is removed, unique
//             "file": "native/image/publish.cc",
//             "search": "...", "replace": "...",   strings, or arrays of lines; search is unique
//             "test": "vitest test/crash/publish.test.ts -t 'power loss'",
//             "timeoutSeconds": 300 }           optional; a test that hangs this long has noticed
// "test" is one of:  vitest ARGS                with a rebuilt addon and a rebuilt dist/
//                    native FLAVOUR ARGS        scripts/test-native.sh
//                    sh COMMAND                 like vitest
//
// With STILLFRAME_MUTANTS_VERBOSE set, the output of failing tests is shown, to see whether they
// fail for the right reason. Everything happens in a copy of the checkout below the temporary
// directory. The commands are first run without any mutant: one that fails then, or runs no test at
// all, proves nothing, and its mutants count as not caught. The run ends with a table: one line per
// room, and the name of each mutant that was not caught.

import { spawn, spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const { values: options } = parseArgs({
  options: {
    only: { type: 'string', multiple: true, default: [''] },
    part: { type: 'string' },
    check: { type: 'boolean' },
    list: { type: 'boolean' },
  },
})

/**
 * Output of vitest or GoogleTest. Both succeed even if a filter leaves no test, or if tests are
 * skipped.
 */
const ranSomething = /[1-9]\d* passed|PASSED *\] [1-9]/

/** The parts that have changed since they were built for vitest. */
const toBuild = new Set(['native', 'lib'])

const rooms = path.join(root, 'scripts/mutants')
const all = readdirSync(rooms)
  .sort()
  .flatMap((room) =>
    JSON.parse(readFileSync(path.join(rooms, room), 'utf8')).map((mutant) => ({
      room: path.basename(room, '.json'),
      ...mutant,
    })),
  )
  .map((mutant) => ({
    timeoutSeconds: 300,
    ...mutant,
    search: [mutant.search].flat().join('\n'),
    replace: [mutant.replace].flat().join('\n'),
  }))
const mutants = partOf(all.filter(({ name }) => options.only.some((words) => name.includes(words))))

refuseInvalid()
if (options.list) for (const { name, file, test } of mutants) console.log(`${name}\n    ${file}\n    ${test}`)
if (options.check) console.log(`${mutants.length} mutants apply`)
if (!options.list && !options.check) process.exitCode = await mutationRun()

/**
 * `--part 2/4`: the second quarter of the list, in order, so that neighbors share the first runs of
 * their tests.
 */
function partOf(list) {
  if (options.part === undefined) return list
  const [part, parts] = options.part.split('/').map(Number)
  if (!(Number.isInteger(part) && Number.isInteger(parts) && part >= 1 && part <= parts)) {
    console.error(`--part takes K/N, the K-th of N parts: ${options.part}`)
    process.exit(1)
  }
  return list.slice(Math.floor(((part - 1) * list.length) / parts), Math.floor((part * list.length) / parts))
}

function refuseInvalid() {
  const problems = []
  const names = new Set()
  for (const { name, file, search, replace, test } of all) {
    if (names.has(name)) problems.push(`${name}: the name is taken`)
    names.add(name)
    const target = path.join(root, file)
    const found = existsSync(target) ? readFileSync(target, 'utf8').split(search).length - 1 : -1
    if (found === -1) problems.push(`${name}: ${file} does not exist`)
    else if (found !== 1) problems.push(`${name}: the search text occurs ${found} times in ${file}`)
    if (search === replace) problems.push(`${name}: changes nothing`)
    if (!/^(vitest|native|sh) ./.test(test)) problems.push(`${name}: no such test: ${test}`)
  }
  if (mutants.length === 0 && !options.check) problems.push('no such mutant')
  if (problems.length === 0) return
  console.error(problems.join('\n'))
  process.exit(1)
}

async function mutationRun() {
  const copy = copyCheckout()
  try {
    const notGreen = await baseline(copy)
    const rooms = new Map()
    const survivors = []
    for (const mutant of mutants) {
      const started = performance.now()
      const verdict = notGreen.has(mutant.test) ? 'TEST NOT GREEN' : await tryMutant(copy, mutant)
      const seconds = ((performance.now() - started) / 1000).toFixed(1)
      console.log(`${verdict.padEnd(14)} ${mutant.name} (${seconds} s)`)
      const caught = verdict.startsWith('caught')
      const room = rooms.get(mutant.room) ?? { mutants: 0, caught: 0 }
      rooms.set(mutant.room, { mutants: room.mutants + 1, caught: room.caught + Number(caught) })
      if (!caught) survivors.push(`${verdict}: ${mutant.name}`)
    }
    console.table(Object.fromEntries(rooms))
    if (survivors.length > 0) console.log(survivors.join('\n'))
    console.log(`${mutants.length - survivors.length} of ${mutants.length} mutants caught`)
    return survivors.length === 0 ? 0 : 1
  } finally {
    rmSync(copy, { recursive: true, force: true })
  }
}

/**
 * Copies the files that git knows or would add, and what was built from them, so that little is
 * compiled again.
 */
function copyCheckout() {
  const copy = mkdtempSync(path.join(os.tmpdir(), 'stillframe-mutants-'))
  // Some tests run a process as another user, who must be able to enter.
  chmodSync(copy, 0o755)
  const { stdout } = spawnSync('git', ['ls-files', '-coz', '--exclude-standard'], {
    cwd: root,
    encoding: 'utf8',
  })
  const built = ['build', 'build-native', 'dist']
  for (const name of [...stdout.split('\0'), ...built]) {
    if (name === '' || !existsSync(path.join(root, name))) continue
    mkdirSync(path.dirname(path.join(copy, name)), { recursive: true })
    cpSync(path.join(root, name), path.join(copy, name), { recursive: true, preserveTimestamps: true })
  }
  symlinkSync(path.join(root, 'node_modules'), path.join(copy, 'node_modules'))
  followOwnHeaders(copy)
  return copy
}

/**
 * Lets make look for changed headers in the copy. What was built before names those of the
 * checkout, and objects would not be compiled again for a mutant in a header.
 */
function followOwnHeaders(copy) {
  const built = path.join(copy, 'build-native')
  if (!existsSync(built)) return
  for (const name of readdirSync(built, { recursive: true })) {
    if (!name.endsWith('.d')) continue
    const file = path.join(built, name)
    writeFileSync(file, readFileSync(file, 'utf8').replaceAll(`${root}/`, `${copy}/`))
  }
}

/** Runs every test command once on the unchanged copy; returns those that fail or run nothing. */
async function baseline(copy) {
  const red = new Set()
  for (const test of new Set(mutants.map((mutant) => mutant.test))) {
    console.log(`without mutant: ${test}`)
    const green = (await build(copy, test)) && (await runTest(copy, test, 900, 'explain')) === 'passed'
    if (!green) red.add(test)
  }
  return red
}

async function tryMutant(copy, { file, search, replace, test, timeoutSeconds }) {
  const target = path.join(copy, file)
  const original = readFileSync(target, 'utf8')
  // A function, since `replace` may contain `$&`.
  writeFileSync(
    target,
    original.replace(search, () => replace),
  )
  const house = file.split('/')[0]
  toBuild.add(house)
  try {
    if (!(await build(copy, test))) return 'DOES NOT BUILD'
    const outcome = await runTest(copy, test, timeoutSeconds)
    return {
      passed: 'SURVIVED',
      'ran nothing': 'SURVIVED',
      failed: 'caught',
      'timed out': 'caught (hung)',
    }[outcome]
  } finally {
    writeFileSync(target, original)
    toBuild.add(house)
  }
}

/** Builds what the test needs. */
async function build(copy, test) {
  const [kind, flavour] = test.split(' ')
  const commands = []
  if (kind === 'native') {
    commands.push(`make -s -f native/test/Makefile FLAVOUR=${flavour} -j${os.availableParallelism()}`)
  } else {
    if (toBuild.has('native')) {
      // A configuration made in the checkout has paths relative to it.
      const configure = existsSync(path.join(copy, 'build/configured')) ? '' : 'configure '
      commands.push(
        `node node_modules/node-gyp/bin/node-gyp.js ${configure}build --loglevel=error --jobs=max && touch build/configured`,
      )
    }
    // Without type checking: the tests must notice the mutant, not the compiler.
    if (toBuild.has('lib')) commands.push('node_modules/.bin/tsc -p tsconfig.build.json --noCheck')
  }
  for (const command of commands) if ((await run(copy, command, 900, 'explain')) !== 'passed') return false
  if (kind !== 'native') toBuild.clear()
  return true
}

function runTest(copy, test, timeoutSeconds, explain) {
  const [kind, ...rest] = test.split(' ')
  const command = {
    vitest: `node node_modules/vitest/vitest.mjs run --bail=1 ${rest.join(' ')}`,
    native: `scripts/test-native.sh ${rest.join(' ')}`,
    sh: rest.join(' '),
  }[kind]
  return run(copy, command, timeoutSeconds, explain, kind === 'sh' ? undefined : ranSomething)
}

/**
 * Runs a shell command in its own process group, so that none of its processes outlives the
 * timeout. `said`: a pattern that the output of a successful command must match.
 */
function run(cwd, command, timeoutSeconds, explain, said = /(?:)/) {
  return new Promise((resolve, reject) => {
    const env = {
      ...process.env,
      STILLFRAME_ADDON: path.join(cwd, 'build/Release/stillframe.node'),
      // The removed code may have been the only use of something.
      CXXFLAGS: '-Wno-error',
    }
    const child = spawn('bash', ['-c', command], {
      cwd,
      env,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    let timedOut = false
    const collect = (chunk) => {
      output = (output + chunk).slice(-20_000)
    }
    child.stdout.on('data', collect)
    child.stderr.on('data', collect)
    const timer = setTimeout(() => {
      timedOut = true
      process.kill(-child.pid, 'SIGKILL')
    }, timeoutSeconds * 1000)
    child.on('error', reject)
    child.on('exit', (status) => {
      clearTimeout(timer)
      let outcome = said.test(output) ? 'passed' : 'ran nothing'
      if (status !== 0) outcome = 'failed'
      if (timedOut) outcome = 'timed out'
      if (outcome !== 'passed' && (explain || process.env.STILLFRAME_MUTANTS_VERBOSE)) console.error(output)
      resolve(outcome)
    })
  })
}
