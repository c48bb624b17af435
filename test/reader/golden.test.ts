/**
 * Promise: the reader without an addon reads every file that was ever written, byte for byte.
 * Proved on all golden files, of snapshots and of values, by comparison with their known contents
 * and with the native reader.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { gunzipSync } from 'node:zlib'
import * as native from 'stillframe'
import { inspect, openSnapshot, readValues, restore, verify } from 'stillframe/reader'
import { beforeAll, describe, expect, test } from 'vitest'
import { golden as values } from '../heap/golden/contents.mjs'
import { golden as snapshots } from '../restore/golden/contents.mjs'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const places = {
  snapshots: fileURLToPath(new URL('../restore/golden/', import.meta.url)),
  values: fileURLToPath(new URL('../heap/golden/', import.meta.url)),
}
const directory = sharedTemporaryDirectory()
const unpacked = (place: string): string[] =>
  readdirSync(place).flatMap((name) => (name.endsWith('.gz') ? [name.slice(0, -3)] : []))

beforeAll(() => {
  for (const place of Object.values(places)) {
    for (const name of unpacked(place)) {
      writeFileSync(join(directory, name), gunzipSync(readFileSync(join(place, `${name}.gz`))))
    }
  }
})

interface Golden {
  sections: Record<string, Uint8Array>
  metadata: unknown
}

test('there are golden files, all of which are read here', () => {
  const named = unpacked(places.snapshots).map((name) => name.replace('.sf', ''))
  expect(named.sort()).toEqual(Object.keys(snapshots).sort())
  expect(unpacked(places.values).map((name) => name.replace('.values', ''))).toEqual(
    Object.keys(values).sort(),
  )
})

describe.each(Object.entries(snapshots as Record<string, Golden>))('%s', (name, { sections, metadata }) => {
  const path = join(directory, `${name}.sf`)

  test('says what it is', async () => {
    expect(await inspect(path)).toEqual(await native.inspect(path))
    expect(await verify(path)).toEqual(await native.verify(path))
    expect(await verify(path)).toMatchObject({ ok: true, problems: [] })
  })

  test('is restored', async () => {
    const restored = await restore(path)
    using expected = await native.restore(path, { mode: 'copy' })
    expect(restored.metadata).toEqual(metadata)
    expect(Object.keys(restored.buffers)).toEqual(Object.keys(sections))
    for (const [section, bytes] of Object.entries(sections)) {
      const found = Buffer.from(restored.buffers[section] as ArrayBuffer)
      expect(Buffer.compare(found, bytes), section).toBe(0)
      const theirs = expected.regions[section]?.buffer as ArrayBuffer
      expect(Buffer.compare(found, Buffer.from(theirs)), section).toBe(0)
    }
  })

  test('is read section by section, and piece by piece', async () => {
    await using snapshot = await openSnapshot(path)
    for (const [section, bytes] of Object.entries(sections)) {
      expect(Buffer.compare(Buffer.from(await snapshot.read(section)), bytes), section).toBe(0)
      const pieces: Uint8Array[] = []
      for await (const piece of snapshot.chunks(section)) pieces.push(piece)
      expect(Buffer.compare(Buffer.concat(pieces), bytes), section).toBe(0)
    }
  })
})

test.each(Object.entries(values as Record<string, unknown[]>))('the values of %s', async (name, expected) => {
  const found: unknown[] = []
  for await (const value of readValues(join(directory, `${name}.values`))) found.push(value)
  expect(found).toHaveLength(expected.length)
  for (const [index, value] of found.entries()) {
    expect(isDeepStrictEqual(value, expected[index]), `value ${index}`).toBe(true)
  }
})
