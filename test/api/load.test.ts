/**
 * Promise: importing the package works everywhere; the first use says why the package cannot work
 * here, what was tried and what to do. Proved by pretending to be on another platform and by naming
 * files that do not load.
 */

import { cpSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

type Package = typeof import('../../lib/index.js')

const { platform, arch } = process
const inDirectory = useTemporaryDirectory()

beforeEach(() => {
  vi.resetModules()
})

afterEach(() => {
  pretend(platform, arch)
  vi.unstubAllEnvs()
})

function pretend(otherPlatform: string, otherArch: string): void {
  Object.defineProperty(process, 'platform', { value: otherPlatform })
  Object.defineProperty(process, 'arch', { value: otherArch })
}

const load = (): Promise<Package> => import('../../lib/index.js')

describe('elsewhere', () => {
  test.each([
    ['darwin', 'arm64'],
    ['win32', 'x64'],
    ['linux', 'ia32'],
  ])('%s %s: the import works, the first use says no', async (otherPlatform, otherArch) => {
    pretend(otherPlatform, otherArch)
    const { Region, capabilities, inspect, preflight, restore, snapshot, verify } = await load()
    const code = 'ERR_STILLFRAME_UNSUPPORTED_PLATFORM'
    const memory = new ArrayBuffer(8)
    for (const use of [() => snapshot(memory, '/tmp/x'), () => Region.allocate(8), () => capabilities()]) {
      const error = thrownBy(use)
      expect(error.code).toBe(code)
      expect(error.message).toContain(`${otherPlatform} ${otherArch}`)
    }
    for (const use of [inspect('/tmp/x'), verify('/tmp/x'), restore('/tmp/x'), preflight(memory, '/tmp/x')]) {
      expect((await rejectionOf(use)).code).toBe(code)
    }
  })

  test('stillframe/heap, too', async () => {
    pretend('win32', 'x64')
    const { readValues, snapshotState, writeHeapSnapshot } = await import('../../lib/heap/index.js')
    for (const use of [() => writeHeapSnapshot('/tmp/x'), () => snapshotState('/tmp/x', () => {})])
      expect(thrownBy(use).code).toBe('ERR_STILLFRAME_UNSUPPORTED_PLATFORM')
    expect(readValues('/tmp/x')).toHaveProperty('next')
  })

  test('mistakes in arguments are still told first', async () => {
    pretend('darwin', 'arm64')
    const { snapshot } = await load()
    expect(thrownBy(() => snapshot(7 as never, '/tmp/x')).code).toBe('ERR_INVALID_ARG_TYPE')
  })
})

describe('STILLFRAME_ADDON', () => {
  test('that names nothing is an error, and nothing else is tried', async () => {
    const file = inDirectory('missing.node')
    vi.stubEnv('STILLFRAME_ADDON', file)
    const { capabilities } = await load()
    const error = thrownBy(() => capabilities())
    expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_ABI', path: file })
    expect(error.message).toContain(`${file}: does not exist`)
    expect(error.message).toContain('STILLFRAME_ADDON')
    expect(error.message).not.toContain('prebuilds')
  })

  test('that does not load says what the loader said', async () => {
    const file = inDirectory('broken.node')
    writeFileSync(file, 'not an ELF file')
    vi.stubEnv('STILLFRAME_ADDON', file)
    const { capabilities } = await load()
    const error = thrownBy(() => capabilities())
    expect(error.code).toBe('ERR_STILLFRAME_ABI')
    expect(error.message).toMatch(/broken\.node: .*(too short|invalid ELF)/)
    expect(error.message).toContain(process.version)
  })

  test('that is another module is refused', async () => {
    const file = inDirectory('other.cjs')
    writeFileSync(file, 'module.exports = { hello() {} }')
    vi.stubEnv('STILLFRAME_ADDON', file)
    const { capabilities } = await load()
    expect(thrownBy(() => capabilities()).message).toContain('not the addon of this version')
  })

  test('is used when it loads, and a failed attempt is not remembered', async () => {
    const file = inDirectory('late.cjs')
    vi.stubEnv('STILLFRAME_ADDON', file)
    const { capabilities } = await load()
    expect(thrownBy(() => capabilities()).code).toBe('ERR_STILLFRAME_ABI')
    writeFileSync(
      file,
      `exports.Capture = class {}
       exports.RegionHandle = class {}
       exports.capabilities = () => ({ kernel: 'mine', pageSize: 1, engines: [], features: [], hazards: [] })`,
    )
    expect(capabilities().kernel).toBe('mine')
  })
})

describe('an installed package', () => {
  const built = fileURLToPath(new URL('../../build/Release/stillframe.node', import.meta.url))
  // The loader reads the C library from the executable's header; Node's report has it too, but is
  // slow.
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  const libc = header.glibcVersionRuntime === undefined ? 'musl' : 'glibc'
  const otherLibc = libc === 'musl' ? 'glibc' : 'musl'

  /**
   * Installs a copy of the package's sources with this binary as the only one, and returns its
   * loader.
   */
  async function install(place: string): Promise<typeof import('../../lib/addon/load.js')> {
    vi.stubEnv('STILLFRAME_ADDON', undefined)
    vi.stubEnv('STILLFRAME_HEAP_ADDON', undefined)
    cpSync(new URL('../../lib', import.meta.url), inDirectory('lib'), { recursive: true })
    writeFileSync(inDirectory('package.json'), '{ "name": "stillframe", "type": "module" }')
    symlinkSync(new URL('../../node_modules', import.meta.url), inDirectory('node_modules'))
    const binary = inDirectory(`${place}/stillframe.node`)
    mkdirSync(dirname(binary), { recursive: true })
    cpSync(built, binary)
    return await import(inDirectory('lib/addon/load.ts'))
  }

  test('loads the prebuilt binary for this C library', async () => {
    const { loadAddon } = await install(`prebuilds/linux-${arch}-${libc}`)
    expect(loadAddon().capabilities().pageSize).toBeGreaterThanOrEqual(4096)
    expect(loadAddon()).toBe(loadAddon())
  })

  test('does not try the one for the other, and lists what it tried and what to do', async () => {
    const { loadAddon } = await install(`prebuilds/linux-${arch}-${otherLibc}`)
    const error = thrownBy(() => loadAddon())
    expect(error.code).toBe('ERR_STILLFRAME_ABI')
    expect(error.message).toContain(
      inDirectory(`prebuilds/linux-${arch}-${libc}/stillframe.node: does not exist`),
    )
    expect(error.message).toContain(inDirectory('source/build/Release/stillframe.node: does not exist'))
    expect(error.message).not.toContain(`linux-${arch}-${otherLibc}/`)
    expect(error.message).toContain(`"npx node-gyp rebuild" in ${inDirectory('source')} `)
  })

  test('asks for the binary of this processor, and says which platforms the package has', async () => {
    const other = arch === 'arm64' ? 'x64' : 'arm64'
    const { loadAddon } = await install(`prebuilds/linux-${arch}-${libc}`)
    pretend('linux', other)
    const error = thrownBy(() => loadAddon())
    expect(error.message).toContain(
      inDirectory(`prebuilds/linux-${other}-${libc}/stillframe.node: does not exist`),
    )
    expect(error.message).toContain(`linux ${other}, ${libc}`)
    expect(error.message).toContain(`The package has binaries for linux-${arch}-${libc}.`)
  })

  test('that has lost its binaries says so', async () => {
    const { loadAddon } = await install('elsewhere')
    expect(thrownBy(() => loadAddon()).message).toContain(
      `There are no binaries in ${inDirectory('prebuilds')}`,
    )
  })

  test('asks for the heap addon of this version of Node, and of no other', async () => {
    await install(`prebuilds/linux-${arch}-${libc}`)
    const { loadHeapAddon } = (await import(
      inDirectory('lib/addon/heap-addon.ts')
    )) as typeof import('../../lib/addon/heap-addon.js')
    const { versions } = process
    try {
      Object.defineProperty(process, 'versions', { value: { ...versions, node: '99.1.0' } })
      const error = thrownBy(() => loadHeapAddon())
      expect(error.code).toBe('ERR_STILLFRAME_ABI')
      expect(error.message).toContain('built for Node 99')
      expect(error.message).toContain(
        inDirectory(`prebuilds/linux-${arch}-${libc}/stillframe_heap-node99.node: does not exist`),
      )
      expect(error.message).not.toContain(`node${versions.node.split('.')[0]}.node`)
    } finally {
      Object.defineProperty(process, 'versions', { value: versions })
    }
  })

  test('loads what was built from its source', async () => {
    const { loadAddon } = await install('source/build/Release')
    expect(loadAddon().capabilities().pageSize).toBeGreaterThanOrEqual(4096)
  })

  test('in a checkout only what was built there is loaded, not what lies ready to be packed', async () => {
    const { loadAddon } = await install(`prebuilds/linux-${arch}-${libc}`)
    writeFileSync(inDirectory('binding.gyp'), '')
    const error = thrownBy(() => loadAddon())
    expect(error.message).toContain(inDirectory('build/Release/stillframe.node: does not exist'))
    expect(error.message).not.toContain('prebuilds')
  })
})

describe('the C library', () => {
  const { header } = process.report.getReport() as unknown as { header: { glibcVersionRuntime?: string } }
  const own = header.glibcVersionRuntime === undefined ? 'musl' : 'glibc'

  /** The smallest usable executable: a header, and one program header that names the loader. */
  function executable(loader: string): string {
    const bytes = Buffer.alloc(200)
    bytes.writeBigUInt64LE(64n, 32) // offset of the program headers
    bytes.writeUInt16LE(56, 54) // size of a program header
    bytes.writeUInt16LE(1, 56) // number of program headers
    bytes.writeUInt32LE(3, 64) // PT_INTERP
    bytes.writeBigUInt64LE(128n, 64 + 8)
    bytes.writeBigUInt64LE(BigInt(loader.length + 1), 64 + 32)
    bytes.write(loader, 128)
    const file = inDirectory('executable')
    writeFileSync(file, bytes)
    return file
  }

  test.each([
    ['/lib/ld-musl-x86_64.so.1', 'musl'],
    ['/lib/ld-musl-aarch64.so.1', 'musl'],
    ['/lib64/ld-linux-x86-64.so.2', 'glibc'],
    ['/nix/store/abc-glibc-2.40/lib/ld-linux-aarch64.so.1', 'glibc'],
  ])('is told from the loader %s', async (loader, libc) => {
    const { candidateLibcs } = await import('../../lib/addon/c-library.js')
    expect(candidateLibcs(executable(loader))).toEqual([libc])
  })

  test('is asked of Node if the executable does not tell, without asking name servers', async () => {
    const { candidateLibcs } = await import('../../lib/addon/c-library.js')
    const report = process.report as NodeJS.ProcessReport & { excludeNetwork?: boolean }
    const before = report.excludeNetwork
    let excluded: boolean | undefined
    const asked = vi.spyOn(report, 'getReport')
    for (const [answer, libcs] of [
      [{ glibcVersionRuntime: '2.28' }, ['glibc']],
      [{}, ['musl']],
    ] as const) {
      asked.mockImplementation(() => {
        excluded = report.excludeNetwork
        return { header: answer }
      })
      expect(candidateLibcs(inDirectory('nothing'))).toEqual(libcs)
      expect(excluded).toBe(true)
      expect(report.excludeNetwork).toBe(before)
    }
    asked.mockRestore()
    expect(candidateLibcs(inDirectory('nothing'))).toEqual([own])
  })
})
