/**
 * Promise: packing refuses a release binary that would not load where the package says it does, or
 * that contains something foreign. Proved with damaged and wrongly declared binaries, which
 * scripts/check-binaries.mjs must detect, both as a module and by its exit status.
 */

import { spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { beforeAll, describe, expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

type Expected = {
  target: string
  exportsOf?: Map<string, Set<string>>
  limit?: number
  notInIt?: string[]
}
type Check = { faultsOf(file: string, expected: Expected): string[] }

const script = fileURLToPath(new URL('../../scripts/check-binaries.mjs', import.meta.url))
const { faultsOf } = (await import(script)) as Check
const hasTools = ['readelf', 'gcc'].every((tool) => spawnSync(tool, ['--version']).status === 0)
const arch = process.arch
const here = `${arch}-glibc`
const elsewhere = `${arch === 'x64' ? 'arm64' : 'x64'}-glibc`
const inDirectory = useTemporaryDirectory()

const entryPoints = 'void napi_register_module_v1(void) {} void node_api_module_get_api_version_v1(void) {}\n'
const linkedSafely = ['-Wl,-z,now', '-Wl,-z,nodelete', '-Wl,-z,max-page-size=65536', '-s']

/** Compiles an addon that does nothing, from this source with these options. */
function addonOf(source: string, options = linkedSafely, name = 'addon.node'): string {
  const file = inDirectory(name)
  writeFileSync(inDirectory('addon.c'), `${entryPoints}${source}\n`)
  const { status, stderr } = spawnSync(
    'gcc',
    ['-w', '-shared', '-fPIC', ...options, '-o', file, inDirectory('addon.c')],
    { encoding: 'utf8' },
  )
  expect(status, stderr).toBe(0)
  return file
}

describe.skipIf(!hasTools)('a binary', () => {
  test('of which nothing is wrong is taken', () => {
    expect(faultsOf(addonOf(''), { target: here })).toEqual([])
  })

  test('for another processor is refused', () => {
    expect(faultsOf(addonOf(''), { target: elsewhere }).join()).toContain('it is for ')
  })

  test('for the other C library is refused', () => {
    const file = addonOf(
      'int getpid(void); int used(void);__attribute__((visibility("hidden"))) int used(void) { return getpid(); }',
    )
    expect(faultsOf(file, { target: here })).toEqual([])
    expect(faultsOf(file, { target: `${arch}-musl` }).join()).toContain('it needs libc.so.6')
  })

  // musl provides such memory only to modules that are loaded at process start.
  test('for musl whose thread-local memory has to be there from the start is refused', () => {
    const file = addonOf(
      '#define OWN __attribute__((visibility("hidden")))\n' +
        'OWN __thread __attribute__((tls_model("initial-exec"))) int own; OWN int used(void) { return own++; }',
      [...linkedSafely, '-nostdlib'],
    )
    expect(faultsOf(file, { target: here })).toEqual([])
    expect(faultsOf(file, { target: `${arch}-musl` }).join()).toContain('thread-local')
  })

  test('that takes a younger symbol of glibc is refused', () => {
    // Renames the version so that the symbol appears to be from glibc 2.99.
    const file = addonOf(
      'int getpid(void); __attribute__((visibility("hidden"))) int used(void) { return getpid(); }',
    )
    const bytes = readFileSync(file)
    const old = /GLIBC_2\.(\d+)(\.\d+)?\0/.exec(bytes.toString('latin1'))
    const name = old?.[0] ?? ''
    bytes.write('GLIBC_2.99'.padEnd(name.length, '\0').slice(0, name.length), old?.index ?? 0)
    writeFileSync(file, bytes)
    expect(faultsOf(file, { target: here }).join()).toMatch(/of glibc 2\.9/)
  })

  test.each([
    ['libstdc++', ['-Wl,--no-as-needed', '-l:libstdc++.so.6'], 'it needs libstdc++.so.6'],
    ['debug information', ['-g'], 'it is not stripped'],
  ])('with %s is refused', (_, options, fault) => {
    const kept = options.includes('-g') ? linkedSafely.filter((option) => option !== '-s') : linkedSafely
    expect(faultsOf(addonOf('', [...kept, ...options]), { target: here })).toContain(fault)
  })

  test.each(['now', 'nodelete'])('that was linked without -z %s is refused', (flag) => {
    const options = linkedSafely.filter((option) => option !== `-Wl,-z,${flag}`)
    // Some compilers pass -z now by default.
    const file = addonOf('', flag === 'now' ? [...options, '-Wl,-z,lazy'] : options)
    expect(faultsOf(file, { target: here })).toContain(`it was linked without -z ${flag}`)
  })

  test('that shows more than its entry points is refused', () => {
    expect(faultsOf(addonOf('void ZSTD_compress(void) {}'), { target: here })).toContain(
      'it shows ZSTD_compress',
    )
  })

  test('that takes what nobody has, or what this Node has not, is refused', () => {
    const uses = (name: string) =>
      addonOf(`int ${name}(void); __attribute__((visibility("hidden"))) int used(void) { return ${name}(); }`)
    expect(faultsOf(uses('nobody_has_this'), { target: here })).toContain('nobody has nobody_has_this')
    const file = uses('napi_of_the_future')
    expect(faultsOf(file, { target: here })).toEqual([])
    const exportsOf = new Map([['20', new Set(['napi_create_object'])]])
    expect(faultsOf(file, { target: here, exportsOf })).toContain('Node 20 does not have napi_of_the_future')
  })

  test('that hands a type of the C++ library to V8 is refused, but for the one that is made by hand', () => {
    const takes = (type: string) =>
      addonOf(
        `int f(void) __asm__("_ZN2v811ArrayBuffer3NewEPNS_7IsolateE${type}"); __attribute__((visibility("hidden"))) int used(void) { return f(); }`,
      )
    const byHand = 'St10shared_ptrINS_12BackingStoreEE'
    expect(faultsOf(takes(byHand), { target: here })).toEqual([])
    const other = 'NSt3__110shared_ptrINS_12BackingStoreEEE'
    expect(faultsOf(takes(other), { target: here }).join()).toContain(
      'it hands a type of the C++ library to Node',
    )
  })

  test('that names a directory of this machine is refused', () => {
    const file = addonOf(
      'const char* where(void); __attribute__((visibility("hidden"))) const char* place = "/home/builder/x.cc";',
    )
    expect(faultsOf(file, { target: here, notInIt: ['/home/builder'] })).toContain(
      'the path /home/builder is in it',
    )
  })

  test('that has grown beyond its limit is refused', () => {
    expect(faultsOf(addonOf(''), { target: here, limit: 1000 }).join()).toMatch(/bytes, and may have 1000/)
  })
})

describe.skipIf(!hasTools)('the command', () => {
  let prebuilds = ''
  beforeAll(() => {
    expect(existsSync(script)).toBe(true)
  })
  const run = (...words: string[]) => spawnSync(process.execPath, [script, ...words], { encoding: 'utf8' })

  test('ends with 0 for what is right, with 1 for a fault, and with 1 for a target without binaries', () => {
    prebuilds = inDirectory('prebuilds')
    const place = join(prebuilds, `linux-${here}`)
    mkdirSync(place, { recursive: true })
    copyFileSync(addonOf(''), join(place, 'stillframe.node'))
    const right = run(prebuilds, '--only', here)
    expect(right.stderr).toBe('')
    expect(right.status).toBe(0)
    expect(run(prebuilds).status).toBe(1)
    copyFileSync(addonOf('void ZSTD_compress(void) {}'), join(place, 'stillframe.node'))
    const faulty = run(prebuilds, '--only', here)
    expect(faulty.status).toBe(1)
    expect(faulty.stderr).toContain('it shows ZSTD_compress')
  })
})
