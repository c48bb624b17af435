/**
 * Promise: on a machine for which no addon exists, importing the package works, the library and the
 * commands read snapshots, and every function that cannot work names the alternative. Proved in
 * processes that run a copy of the package without native files, that are told not to load addons,
 * and that pretend to run on macOS or Windows.
 */

import { spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { build } from 'rolldown'
import { inspect, snapshot } from 'stillframe'
import { beforeAll, describe, expect, test } from 'vitest'
import { flipByte } from '../support/damage.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const directory = sharedTemporaryDirectory()
const installed = join(directory, 'project/node_modules/stillframe')
const program = join(directory, 'project/elsewhere.mjs')
const at = (name: string): string => join(directory, name)
const sections = { main: new Uint8Array(300_000).fill(7, 5000, 9000).fill(3, 0, 10), é: Uint8Array.of(1, 2) }
const changed = { ...sections, main: sections.main.slice().fill(8, 280_000) }

beforeAll(async () => {
  // The files that npm installs there: the package, without an addon for this platform, and its
  // dependencies.
  mkdirSync(installed, { recursive: true })
  for (const name of ['dist', 'package.json'])
    cpSync(join(root, name), join(installed, name), { recursive: true })
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  for (const name of [...Object.keys(dependencies), 'string-width', 'strip-ansi', 'emoji-regex']) {
    symlinkSync(join(root, 'node_modules', name), join(directory, 'project/node_modules', name))
  }
  cpSync(new URL('fixtures/elsewhere.mjs', import.meta.url), program)
  await snapshot(sections, at('full'), { metadata: { epoch: 7 } }).done
  await snapshot(changed, at('delta'), { parent: at('full'), compression: 'zstd' }).done
  const golden = new URL('../heap/golden/long.values.gz', import.meta.url)
  writeFileSync(at('values'), gunzipSync(readFileSync(golden)))
})

function node(args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-addons', ...args], {
    encoding: 'utf8',
    timeout: 120_000,
    maxBuffer: 2 ** 28,
    env: { ...process.env, STILLFRAME_ADDON: '', STILLFRAME_HEAP_ADDON: '', NODE_OPTIONS: '' },
  })
  return { status, stdout, stderr }
}

describe.each([
  ['darwin', 'arm64'],
  ['win32', 'x64'],
  ['linux', 'riscv64'],
])('on %s %s', (platform, arch) => {
  test('all is imported, and files are read', async () => {
    const args = [platform, arch, at('full'), at('delta'), at('values'), at('nowhere'), at('empty')]
    mkdirSync(at('empty'), { recursive: true })
    const { status, stdout, stderr } = node([program, ...args])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    // Refused calls have left nothing.
    expect(existsSync(at('nowhere'))).toBe(false)
    expect(readdirSync(at('empty'))).toEqual([])
    const { refused, read, found, isTheirError } = JSON.parse(stdout)
    expect(isTheirError).toBe(true)
    for (const error of refused) {
      expect(error).toMatchObject({ name: 'StillframeError', code: 'ERR_STILLFRAME_UNSUPPORTED_PLATFORM' })
      expect(error.message).toContain(`${platform} ${arch}`)
      expect(error.message).toContain('stillframe/reader')
    }
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64')
    for (const [path, memory, metadata] of [
      [at('full'), sections, { epoch: 7 }],
      [at('delta'), changed, undefined],
    ] as const) {
      expect(read[path].ok).toBe(true)
      expect(read[path].info).toEqual(JSON.parse(JSON.stringify(await inspect(path))))
      expect(read[path].metadata).toEqual(metadata)
      expect(read[path].part).toBe(base64(memory.main.subarray(1, 5)))
      expect(read[path].memory).toEqual({ main: base64(memory.main), é: base64(memory.é) })
    }
    expect(found).toBeGreaterThan(0)
  })

  const pretend = (): string => {
    const file = at(`pretend-${platform}.mjs`)
    const lines = Object.entries({ platform, arch }).map(
      ([name, value]) => `Object.defineProperty(process, '${name}', { value: '${value}' })`,
    )
    writeFileSync(file, lines.join('\n'))
    return file
  }
  const command = (...args: string[]) =>
    node(['--import', pretend(), join(installed, 'dist/cli/main.js'), ...args])

  test('the commands that read one file work', () => {
    const inspected = command('inspect', '--json', at('delta'))
    expect(JSON.parse(inspected.stdout)).toMatchObject({ kind: 'delta', byteLength: 300_002 })
    expect(command('verify', at('delta'))).toMatchObject({ status: 0, stderr: '' })
    const out = at(`out-${platform}`)
    expect(command('extract', at('delta'), 'main', '-o', out)).toMatchObject({ status: 0 })
    expect(readFileSync(out).equals(changed.main)).toBe(true)
    expect(command('extract', at('delta'), 'none', '-o', at('nothing')).stderr).toContain("'main', 'é'")
  })

  test('and say of damage what it is, and write nothing', () => {
    // In a separate directory, since the file would be taken for a parent.
    const damaged = join(directory, 'damaged/file')
    mkdirSync(dirname(damaged), { recursive: true })
    cpSync(at('full'), damaged)
    flipByte(damaged, 65_536 + 5)
    const verified = command('verify', '--json', damaged)
    expect(verified.status).toBe(1)
    expect(JSON.parse(verified.stdout)).toMatchObject({ ok: false, problems: [{ section: 'main' }] })
    const extracted = command('extract', damaged, 'main')
    expect(extracted).toMatchObject({ status: 1, stdout: '' })
    expect(extracted.stderr).toContain('ERR_STILLFRAME_CORRUPT')
  })

  test('the others name what does work', () => {
    const { status, stderr } = command('doctor')
    expect(status).toBe(1)
    expect(stderr).toContain('stillframe/reader')
  })
})

test('on Linux, a Node that loads no addons is told of the reader', () => {
  const { stdout } = node([
    '--input-type=module',
    '-e',
    `const { inspect } = await import(${JSON.stringify(join(installed, 'dist/index.js'))})
     console.log(await inspect(${JSON.stringify(at('full'))}).catch(({ code, message }) => code + message))`,
  ])
  expect(stdout).toContain('ERR_STILLFRAME_ABI')
  expect(stdout).toContain('stillframe/reader')
})

test('the reader can be bundled', async () => {
  const input = at('bundle.mjs')
  writeFileSync(
    input,
    `import { restore, verify } from '${join(installed, 'dist/reader/index.js')}'
     const [path] = process.argv.slice(2)
     const { buffers } = await restore(path)
     console.log((await verify(path)).ok, Buffer.from(buffers.main).toString('base64'))`,
  )
  const file = at('bundle/out.mjs')
  await build({ input, platform: 'node', output: { file, format: 'esm' }, logLevel: 'silent' })
  const { stdout, stderr } = node([file, at('delta')])
  expect({ stdout, stderr }).toEqual({
    stdout: `true ${Buffer.from(changed.main).toString('base64')}\n`,
    stderr: '',
  })
})

test('a big-endian machine is told that its typed arrays would show other numbers', () => {
  const { stdout } = node([
    '--input-type=module',
    '-e',
    `import { syncBuiltinESMExports } from 'node:module'
     import os from 'node:os'
     os.endianness = () => 'BE'
     syncBuiltinESMExports()
     const { inspect } = await import(${JSON.stringify(join(installed, 'dist/reader/index.js'))})
     console.log(await inspect(${JSON.stringify(at('full'))}).catch(({ code, message }) => code + message))`,
  ])
  expect(stdout).toContain('ERR_STILLFRAME_UNSUPPORTED_PLATFORM')
  expect(stdout).toContain('big-endian')
})

test('nothing keeps the package from being installed elsewhere', () => {
  const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  expect(Object.keys(manifest)).not.toContain('os')
  expect(Object.keys(manifest)).not.toContain('cpu')
  for (const script of ['preinstall', 'install', 'postinstall']) {
    expect(Object.keys(manifest.scripts)).not.toContain(script)
  }
  // In a clone there is nothing to compile either.
  const { status, stdout } = node(['--import', pretendMac(), join(root, 'scripts/prepare.mjs')])
  expect(status).toBe(0)
  expect(stdout).toMatch(/^stillframe: nothing to compile.*darwin.*\n$/)
})

function pretendMac(): string {
  const file = at('mac.mjs')
  writeFileSync(file, "Object.defineProperty(process, 'platform', { value: 'darwin' })")
  return file
}
