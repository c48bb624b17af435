/**
 * Promise: importing the package works everywhere; the first use says why it cannot work here, what was tried
 * and what to do. Proved by pretending to be on another platform and by naming files that do not load.
 */

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { rejectionOf, thrownBy } from './expect-error.js'

type Package = typeof import('../../lib/index.js')

const { platform, arch } = process
let directory = ''

beforeEach(() => {
  vi.resetModules()
  directory = mkdtempSync(join(tmpdir(), 'stillframe-load-'))
})

afterEach(() => {
  pretend(platform, arch)
  vi.unstubAllEnvs()
  rmSync(directory, { recursive: true, force: true })
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

  test('mistakes in arguments are still told first', async () => {
    pretend('darwin', 'arm64')
    const { snapshot } = await load()
    expect(thrownBy(() => snapshot(7 as never, '/tmp/x')).code).toBe('ERR_INVALID_ARG_TYPE')
  })
})

describe('STILLFRAME_ADDON', () => {
  test('that names nothing is an error, and nothing else is tried', async () => {
    const file = join(directory, 'missing.node')
    vi.stubEnv('STILLFRAME_ADDON', file)
    const { capabilities } = await load()
    const error = thrownBy(() => capabilities())
    expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_ABI', path: file })
    expect(error.message).toContain(`${file}: does not exist`)
    expect(error.message).toContain('STILLFRAME_ADDON')
    expect(error.message).not.toContain('prebuilds')
  })

  test('that does not load says what the loader said', async () => {
    const file = join(directory, 'broken.node')
    writeFileSync(file, 'not an ELF file')
    vi.stubEnv('STILLFRAME_ADDON', file)
    const { capabilities } = await load()
    const error = thrownBy(() => capabilities())
    expect(error.code).toBe('ERR_STILLFRAME_ABI')
    expect(error.message).toMatch(/broken\.node: .*(too short|invalid ELF)/)
    expect(error.message).toContain(process.version)
  })

  test('that is another module is refused', async () => {
    const file = join(directory, 'other.cjs')
    writeFileSync(file, 'module.exports = { hello() {} }')
    vi.stubEnv('STILLFRAME_ADDON', file)
    const { capabilities } = await load()
    expect(thrownBy(() => capabilities()).message).toContain('not the addon of this version')
  })

  test('is used when it loads, and a failed attempt is not remembered', async () => {
    const file = join(directory, 'late.cjs')
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
