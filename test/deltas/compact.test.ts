/**
 * Promise: compact() makes one full file that represents the same memory at the same instant as the
 * chain that it is made from, or makes none and leaves the chain unchanged. Proved with chains of
 * real frames, by restoring from both, and with wrong targets, damage, an abort and wrong
 * arguments.
 */

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import {
  compact,
  inspect,
  Region,
  restore,
  type SnapshotProgress,
  type SnapshotResult,
  snapshot,
  verify,
} from 'stillframe'
import { describe, expect, test } from 'vitest'
import { flipByte } from '../support/damage.js'
import { rejectionOf } from '../support/expect-error.js'
import { Random } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const options = { engine: 'fork', durable: false } as const
const quick = { durable: false } as const
const MiB = 2 ** 20
const pageBytes = 4096
const metadata = { epoch: 4, words: ['a', 'ä'] }

interface Chain {
  /** Starts with the full frame. */
  paths: string[]
  newest: SnapshotResult
  frozenAt: Date
  /** Contents of the newest frame, by section. */
  contents: Record<string, Uint8Array>
}

/**
 * Takes a full frame, compressed or not, and deltas of both kinds, with pages that changed, became
 * zero, or were zero before.
 */
async function takeChain(compression: 'none' | 'zstd' = 'none'): Promise<Chain> {
  using table = Region.allocate(3 * MiB + 4097)
  const bytes = new Uint8Array(table.buffer)
  const random = new Random(11)
  random.fill(bytes.subarray(0, 2 * MiB))
  const small = new Uint8Array(5)
  const paths: string[] = []
  let newest: SnapshotResult | undefined
  let frozenAt = new Date(0)
  for (let frame = 0; frame < 5; frame++) {
    random.fill(bytes.subarray(frame * 300_000, frame * 300_000 + 20_000))
    bytes.fill(0, frame * 40 * pageBytes, frame * 40 * pageBytes + 3 * pageBytes)
    small.fill(frame)
    const path = inDirectory(`${frame}.sf`)
    const running = snapshot({ table, small }, path, {
      ...options,
      parent: newest,
      metadata: { ...metadata, epoch: frame },
      compression: frame % 2 === 0 ? compression : 'zstd',
    })
    frozenAt = running.frozenAt
    newest = await running.done
    paths.push(path)
  }
  if (newest === undefined) throw new Error('no frame')
  return { paths, newest, frozenAt, contents: { table: new Uint8Array(bytes), small: new Uint8Array(small) } }
}

/** Restores a file in every possible way and compares it with the memory. */
async function expectContents(path: string, contents: Chain['contents']): Promise<void> {
  const { layout } = await inspect(path)
  for (const mode of layout === 'flat' ? (['copy', 'map'] as const) : (['copy'] as const)) {
    using restored = await restore(path, { mode })
    expect(Object.keys(restored.regions)).toEqual(Object.keys(contents))
    for (const [name, bytes] of Object.entries(contents)) {
      const region = restored.regions[name]
      expect(Buffer.compare(Buffer.from(region?.buffer ?? new ArrayBuffer(0)), bytes), name).toBe(0)
    }
  }
  expect((await verify(path)).problems).toEqual([])
}

/** All files of the directory with their contents. */
function filesBelow(directory: string): Map<string, string> {
  return new Map(
    readdirSync(directory).map((name) => [name, readFileSync(join(directory, name)).toString('latin1')]),
  )
}

const newestOf = ({ paths }: Chain): string => paths.at(-1) ?? ''

describe.each(['none', 'zstd'] as const)('a chain with compression %s', (compression) => {
  test.each([
    ['none', 'flat'],
    ['zstd', 'packed'],
  ] as const)('becomes one file with compression %s', async (codec, layout) => {
    const chain = await takeChain(compression)
    const out = inDirectory('out/full.sf')
    mkdirSync(inDirectory('out'))
    const result = await compact(newestOf(chain), out, { ...quick, compression: codec })
    const byteLength = 3 * MiB + 4097 + 5
    expect(result).toMatchObject({
      kind: 'full',
      path: out,
      engine: 'none',
      byteLength,
      changedBytes: byteLength,
      scannedBytes: 0,
      fileSize: statSync(out).size,
      pauseMs: 0,
      copiedBytesPeak: 0,
    })
    expect(result).not.toHaveProperty('parentId')
    expect(result.pages.total).toBe(770 + 1)
    expect(result.pages.zero).toBeGreaterThan(200)
    expect(result.durationMs).toBeGreaterThan(0)

    const info = await inspect(out)
    expect(info).toMatchObject({ id: result.id, layout, metadata, frozenAt: chain.frozenAt })
    expect(info).not.toHaveProperty('parentId')
    expect(result.id).toBe(chain.newest.id)
    // It is alone in its directory, since it needs no other file.
    await expectContents(out, chain.contents)
  })
})

test('a full file is copied, with the permissions that the call says', async () => {
  const { paths } = await takeChain()
  const [first = ''] = paths
  const result = await compact(pathToFileURL(first), pathToFileURL(inDirectory('copy')), {
    ...quick,
    mode: 0o640,
  })
  expect(result.kind).toBe('full')
  expect(statSync(inDirectory('copy')).mode & 0o777).toBe(0o640)
  using original = await restore(first)
  using copy = await restore(inDirectory('copy'))
  for (const name of ['table', 'small'])
    expect(
      Buffer.compare(
        Buffer.from(copy.regions[name]?.buffer ?? new ArrayBuffer(1)),
        Buffer.from(original.regions[name]?.buffer ?? new ArrayBuffer(0)),
      ),
    ).toBe(0)
})

test('it is the same frame: what builds on it is read with either file, from the full one where it is there', async () => {
  const chain = await takeChain()
  using table = Region.allocate(3 * MiB + 4097)
  new Uint8Array(table.buffer).set(chain.contents['table'] as Uint8Array)
  const contents = { table: new Uint8Array(table.buffer) }
  contents.table.fill(7, 5000, 9000)
  const after = await snapshot({ table }, inDirectory('5.sf'), { ...options, parent: chain.newest }).done
  mkdirSync(inDirectory('elsewhere'))
  const full = inDirectory('elsewhere/full.sf')
  await compact(newestOf(chain), full, quick)
  await expectContents(after.path, contents)
  // Damages data of the original chain that the frame needs, so that only the full file can provide
  // it.
  flipByte(
    chain.paths[0] ?? '',
    ((await inspect(chain.paths[0] ?? '')).sections[0]?.fileOffset ?? 0) + 2 * MiB - pageBytes,
  )
  expect(await rejectionOf(restore(after.path))).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT' })
  for (const parents of [
    [full],
    [newestOf(chain), full],
    [inDirectory(), full],
    [full, inDirectory()],
    [inDirectory('elsewhere')],
  ]) {
    using restored = await restore(after.path, { parents })
    expect(
      Buffer.compare(Buffer.from(restored.regions['table']?.buffer ?? new ArrayBuffer(0)), contents.table),
    ).toBe(0)
  }
  // Replaces the old file, with all other files that it was made from gone.
  renameSync(full, newestOf(chain))
  for (const path of chain.paths.slice(0, -1)) rmSync(path)
  await expectContents(after.path, contents)
})

test('what builds on the old file goes on building on it, and new frames build on the new one', async () => {
  const chain = await takeChain()
  using table = Region.allocate(2 * pageBytes)
  new Uint8Array(table.buffer).set((chain.contents['table'] as Uint8Array).subarray(0, 2 * pageBytes))
  const contents = { table: new Uint8Array(table.buffer) }
  const after = await snapshot({ table }, inDirectory('5.sf'), { ...options, parent: chain.newest }).done
  const full = await compact(newestOf(chain), inDirectory('full.sf'), quick)
  await expectContents(after.path, contents)
  contents.table[pageBytes] = (contents.table[pageBytes] ?? 0) + 1
  const next = await snapshot({ table }, inDirectory('6.sf'), { ...options, parent: full }).done
  expect(next).toMatchObject({ kind: 'delta', parentId: full.id, changedBytes: pageBytes })
  await expectContents(next.path, contents)
  // A frame that builds on a compacted frame can be compacted in turn.
  await compact(next.path, inDirectory('again.sf'), quick)
  await expectContents(inDirectory('again.sf'), contents)
})

test.each([true, false, undefined])(
  'no file of its own chain is replaced, overwrite: %s',
  async (overwrite) => {
    const { paths } = await takeChain()
    const before = filesBelow(inDirectory())
    for (const target of paths) {
      const refusal = await rejectionOf(compact(paths.at(-1) ?? '', target, { ...quick, overwrite }))
      expect(refusal).toMatchObject({ code: 'ERR_STILLFRAME_PARENT', path: target })
    }
    expect(filesBelow(inDirectory())).toEqual(before)
  },
)

test('another file is replaced, unless overwrite is false', async () => {
  const chain = await takeChain()
  const target = inDirectory('precious')
  writeFileSync(target, 'precious')
  const refusal = await rejectionOf(compact(newestOf(chain), target, { ...quick, overwrite: false }))
  expect(refusal).toMatchObject({ code: 'ERR_STILLFRAME_EXISTS', path: target })
  expect(readFileSync(target, 'utf8')).toBe('precious')
  await compact(newestOf(chain), target, quick)
  await expectContents(target, chain.contents)
})

test('parents are looked for where the call says', async () => {
  const chain = await takeChain()
  mkdirSync(inDirectory('alone'))
  const alone = inDirectory('alone/4.sf')
  copyFileSync(newestOf(chain), alone)
  const refusal = await rejectionOf(compact(alone, inDirectory('out'), quick))
  expect(refusal).toMatchObject({ code: 'ERR_STILLFRAME_PARENT', path: alone })
  expect(existsSync(inDirectory('out'))).toBe(false)
  await compact(alone, inDirectory('out'), { ...quick, parents: inDirectory() })
  await expectContents(inDirectory('out'), chain.contents)
})

test('progress is told up to the end', async () => {
  const chain = await takeChain()
  const told: SnapshotProgress[] = []
  const onProgress = (progress: SnapshotProgress): void => void told.push(progress)
  const { byteLength } = await compact(newestOf(chain), inDirectory('out'), { ...quick, onProgress })
  expect(told.at(-1)).toMatchObject({ bytesDone: byteLength, bytesTotal: byteLength, copiedBytes: 0 })
  for (const [index, { bytesDone }] of told.entries())
    expect(bytesDone).toBeGreaterThanOrEqual(told[index - 1]?.bytesDone ?? 0)
})

describe('an abort', () => {
  const reason = new Error('enough')

  test('while it writes rejects with its reason, and leaves nothing', async () => {
    const chain = await takeChain()
    const before = filesBelow(inDirectory())
    const abortion = new AbortController()
    const running = compact(newestOf(chain), inDirectory('out'), {
      ...quick,
      signal: abortion.signal,
      // So slow that it would exceed the time limit of the test.
      maxBytesPerSecond: 1000,
      onProgress: () => abortion.abort(reason),
    })
    expect(await rejectionOf(running)).toBe(reason)
    expect(filesBelow(inDirectory())).toEqual(before)
  })

  test('before it writes does so too, whenever it comes', async () => {
    const chain = await takeChain()
    const before = filesBelow(inDirectory())
    const compactWith = (signal: AbortSignal) =>
      compact(newestOf(chain), inDirectory('out'), { ...quick, signal })
    expect(await rejectionOf(compactWith(AbortSignal.abort(reason)))).toBe(reason)
    const abortion = new AbortController()
    const running = compactWith(abortion.signal)
    abortion.abort(reason)
    expect(await rejectionOf(running)).toBe(reason)
    expect(filesBelow(inDirectory())).toEqual(before)
  })
})

describe('damage', () => {
  test('in a file of the chain is found, named, and makes no file', async () => {
    const { paths } = await takeChain()
    // The end of the random bytes, which no later frame has changed.
    const { sections } = await inspect(paths[0] ?? '')
    flipByte(paths[0] ?? '', (sections[0]?.fileOffset ?? 0) + 2 * MiB - pageBytes)
    const before = filesBelow(inDirectory())
    for (const compression of ['none', 'zstd'] as const) {
      const error = await rejectionOf(compact(paths[4] ?? '', inDirectory('out'), { ...quick, compression }))
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', section: 'table', path: paths[4] })
      expect(error.message).toContain(paths[0])
    }
    expect(filesBelow(inDirectory())).toEqual(before)
  })

  test('keeps the old file where there is one', async () => {
    const { paths } = await takeChain()
    const last = paths[4] ?? ''
    flipByte(last, 65_536 + 10)
    writeFileSync(inDirectory('out'), 'precious')
    const error = await rejectionOf(compact(last, inDirectory('out'), quick))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', path: last })
    expect(readFileSync(inDirectory('out'), 'utf8')).toBe('precious')
  })
})

test('what is no snapshot, or is not there, is refused', async () => {
  writeFileSync(inDirectory('text'), 'no snapshot'.repeat(10_000))
  const out = inDirectory('out')
  expect(await rejectionOf(compact(inDirectory('text'), out))).toMatchObject({
    code: 'ERR_STILLFRAME_FORMAT',
  })
  expect(await rejectionOf(compact(inDirectory('absent'), out))).toMatchObject({
    code: 'ERR_STILLFRAME_IO',
    errnoName: 'ENOENT',
    path: inDirectory('absent'),
  })
  const { paths } = await takeChain()
  expect(await rejectionOf(compact(paths[4] ?? '', inDirectory('absent/out')))).toMatchObject({
    errnoName: 'ENOENT',
    path: inDirectory('absent/out'),
  })
  expect(await rejectionOf(compact(paths[4] ?? '', out, { limits: { sections: 1 } }))).toBeInstanceOf(
    RangeError,
  )
  expect(existsSync(out)).toBe(false)
})

describe('wrong arguments', () => {
  const good = '/nowhere/out'
  test.each<[string, unknown, unknown, unknown?]>([
    ['no path', undefined, good],
    ['a number as path', 7, good],
    ['an empty path', '', good],
    ['no target', good, undefined],
    ['a directory as target', good, '/nowhere/'],
    ['no object of options', good, good, 7],
    ['an unknown option', good, good, { engine: 'fork' }],
    ["metadata, which is the frame's", good, good, { metadata: {} }],
    ['a parent', good, good, { parent: good }],
    ['a wrong place', good, good, { parents: 7 }],
    ['a wrong place among others', good, good, { parents: [good, null] }],
    ['a wrong switch', good, good, { overwrite: 1 }],
    ['a wrong signal', good, good, { signal: {} }],
    ['a wrong listener', good, good, { onProgress: 1 }],
    ['an unknown codec', good, good, { compression: 'gzip' }],
  ])('%s: TypeError', async (_, path, to, given) => {
    const error = await rejectionOf(compact(path as string, to as string, given as object))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.code).toMatch(/^ERR_INVALID_/)
  })

  test.each([
    { mode: -1 },
    { nice: 20 },
    { compression: { codec: 'zstd', level: 23 } as const },
    { limits: { sections: 0 } },
  ])('%j: RangeError', async (given) => {
    expect(await rejectionOf(compact(good, good, given))).toBeInstanceOf(RangeError)
  })
})

test('no file of the chain stays open', async () => {
  const { newest } = await takeChain()
  const open = (): string[] =>
    readdirSync('/proc/self/fd').flatMap((fd) => {
      try {
        return [readlinkSync(`/proc/self/fd/${fd}`)].filter((path) => path.includes(inDirectory()))
      } catch {
        return []
      }
    })
  await compact(newest.path, inDirectory('full.sf'), quick)
  expect(open()).toEqual([])
  await expect(compact(newest.path, newest.path, quick)).rejects.toThrow()
  expect(open()).toEqual([])
})
