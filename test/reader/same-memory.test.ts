/**
 * Promise: the reader without an addon returns the frozen memory, whole and in any part, from any
 * kind of source. Proved with random histories of random sections, written in every layout and as
 * chains, read from paths, blobs and sources that return a few bytes at a time, and compared with
 * the native reader.
 */

import { Blob } from 'node:buffer'
import { readFileSync } from 'node:fs'
import * as native from 'stillframe'
import { snapshot } from 'stillframe'
import {
  inspect,
  openSnapshot,
  type RandomAccess,
  restore,
  type SnapshotSource,
  verify,
} from 'stillframe/reader'
import { describe, expect, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { Random, testSeed } from '../support/random.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const random = new Random(testSeed)
const block = 262_144
type Sections = Record<string, Uint8Array>

/** Returns a length at or next to the borders of pages, blocks and chunks, or another one. */
function someLength(): number {
  const borders = [0, 1, 4095, 4096, 4097, block - 1, block, block + 1, 16 * block, 16 * block + 4097]
  return random.below(3) > 0 ? (borders[random.below(borders.length)] as number) : random.below(3 * block)
}

/** Fills random ranges with noise, zeros or a repeated byte. */
function change(bytes: Uint8Array): void {
  for (let i = random.below(6); i > 0 && bytes.length > 0; i--) {
    const start = random.below(bytes.length)
    const part = bytes.subarray(start, start + 1 + random.below(random.below(2) === 0 ? 5000 : bytes.length))
    const kind = random.below(3)
    if (kind === 0) random.fill(part)
    else part.fill(kind === 1 ? 0 : 1 + random.below(255))
  }
}

function someSections(): Sections {
  const names = ['main', 'é', '__proto__', 'a', 'b', 'long'.repeat(63)].filter(() => random.below(2) === 0)
  const sections = Object.create(null) as Sections
  for (const name of names.length === 0 ? ['main'] : names) {
    sections[name] = new Uint8Array(someLength())
    if (random.below(4) > 0) change(sections[name])
  }
  return sections
}

/** Drops, grows, shrinks and adds sections. */
function later(before: Sections): Sections {
  const sections = Object.create(null) as Sections
  for (const [name, bytes] of Object.entries(before)) {
    if (random.below(6) === 0) continue
    const after = new Uint8Array(random.below(3) === 0 ? someLength() : bytes.length)
    after.set(bytes.subarray(0, after.length))
    change(after)
    sections[name] = after
  }
  return { ...someSections(), ...sections }
}

const isSame = (found: ArrayBuffer | Uint8Array | undefined, bytes: Uint8Array): boolean =>
  found !== undefined && Buffer.compare(Buffer.from(found as ArrayBuffer), bytes) === 0

/** Returns few bytes at a time, as a store might. */
function inParts(bytes: Uint8Array, most = 50_000): RandomAccess {
  return {
    size: bytes.length,
    read: async (offset, length) => bytes.slice(offset, offset + Math.min(length, 1 + random.below(most))),
  }
}

async function expectMemory(
  source: SnapshotSource,
  sections: Sections,
  parents?: SnapshotSource[],
): Promise<void> {
  const why = `seed ${testSeed}`
  const options = parents && { parents }
  expect(await verify(source, options), why).toMatchObject({ ok: true, problems: [] })
  const { buffers } = await restore(source, options)
  expect(Object.keys(buffers), why).toEqual(Object.keys(sections))
  await using open = await openSnapshot(source, options)
  for (const [name, bytes] of Object.entries(sections)) {
    expect(isSame(buffers[name], bytes), `${name}, ${why}`).toBe(true)
    const end = random.below(bytes.length + 1)
    const start = random.below(end + 1)
    const part = await open.read(name, { start, end })
    expect(isSame(part, bytes.subarray(start, end)), `${name} from ${start} to ${end}, ${why}`).toBe(true)
    let at = start
    for await (const piece of open.chunks(name, { start, end })) {
      expect(isSame(piece, bytes.subarray(at, at + piece.length)), `${name} at ${at}, ${why}`).toBe(true)
      expect(piece.length).toBeLessThanOrEqual(16 * block)
      at += piece.length
    }
    expect(at).toBe(end)
  }
}

describe.each(['none', 'zstd'] as const)('with compression %s', (compression) => {
  test('full files and chains of random memory', async () => {
    let sections = someSections()
    const paths: string[] = []
    const contents: Sections[] = []
    for (let frame = 0; frame < 4; frame++) {
      const path = inDirectory(`frame ${frame}`)
      const parent = paths.at(-1)
      await snapshot(sections, path, { compression, ...(parent !== undefined && { parent }) }).done
      paths.push(path)
      contents.push(sections)
      sections = later(sections)
    }
    for (const [frame, path] of paths.entries()) {
      const expected = contents[frame] as Sections
      await expectMemory(path, expected)
      expect(await inspect(path)).toEqual(await native.inspect(path))
      using theirs = await native.restore(path, { mode: 'copy' })
      for (const [name, bytes] of Object.entries(expected)) {
        expect(isSame(theirs.regions[name]?.buffer, bytes)).toBe(true)
      }
    }
    // Bytes that are not in a file, with parents of the same kind, as blobs, and in a directory.
    const bytes = paths.map((path) => readFileSync(path))
    const newest = contents.at(-1) as Sections
    const others = bytes.slice(0, -1).reverse()
    await expectMemory(
      inParts(bytes.at(-1) as Buffer),
      newest,
      others.map((each) => inParts(each)),
    )
    await expectMemory(
      new Blob([bytes.at(-1) as Buffer]),
      newest,
      others.map((each) => new Blob([each])),
    )
    await expectMemory(new Blob([bytes.at(-1) as Buffer]), newest, [inDirectory()])
    const error = await rejectionOf(openSnapshot(new Blob([bytes.at(-1) as Buffer])))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_PARENT' })
    expect(error.message).toContain('parents')
  })
})

test('many sections', async () => {
  const many = Object.fromEntries(
    Array.from({ length: 1000 }, (_, n) => [`s${n}`, new Uint8Array(n % 7).fill(n % 5)]),
  )
  await snapshot(many, inDirectory('many')).done
  await expectMemory(inDirectory('many'), many)
})

test('a chain that was made one file takes the place of its newest frame', async () => {
  const bytes = new Uint8Array(block + 5).fill(1)
  const at = (name: string): string => inDirectory(name)
  await snapshot({ main: bytes }, at('full')).done
  bytes.fill(2, 5000, 5100)
  await snapshot({ main: bytes }, at('middle'), { parent: at('full') }).done
  bytes.fill(3, 90_000, 100_000)
  await snapshot({ main: bytes }, at('newest'), { parent: at('middle') }).done
  await native.compact(at('middle'), at('one'))
  await expectMemory(at('newest'), { main: bytes }, [at('one')])
  await expectMemory(at('newest'), { main: bytes })
})
