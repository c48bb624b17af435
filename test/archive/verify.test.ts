/**
 * Promise: verify() finds every flipped, cut and missing byte of an archive, reports the frames
 * that cannot be restored because of it, and continues with the next; restore() never returns any
 * damaged bytes. Proved by damaging each file of an archive in several ways.
 */

import { readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { openArchive } from 'stillframe/archive'
import { expect, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { hashOf } from '../support/pattern.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf } from './history.js'

const inDirectory = useTemporaryDirectory()

const damages: Record<string, (path: string) => void> = {
  'a flipped byte'(path) {
    const bytes = readFileSync(path)
    const at = bytes.findIndex((byte, index) => index > bytes.length / 3 && byte !== 0)
    bytes[at] = (bytes[at] ?? 0) ^ 4
    writeFileSync(path, bytes)
  },
  'a cut': (path) => truncateSync(path, readFileSync(path).length - 1),
  'the end of it': (path) => truncateSync(path, 0),
  'its absence': (path) => rmSync(path),
}

/** Frames that cannot be restored if this file is damaged: 1 and 4 are full, and 5 builds on 4. */
const affected: Record<string, number[]> = {
  '0000000001.sf': [1, 2, 3],
  '0000000002.sf': [2, 3],
  '0000000003.sf': [3],
  '0000000003.state': [3],
  '0000000004.sf': [4, 5],
  '0000000005.json': [5],
}

test.each(Object.keys(affected))('%s', async (file) => {
  for (const [what, damage] of Object.entries(damages)) {
    // Without its manifest there is no frame.
    if (what === 'its absence' && file.endsWith('.json')) continue
    const place = inDirectory(what)
    const history = new History(64 * 1024)
    await using archive = await openArchive(place)
    const state = (out: { value(value: unknown): void }): void => out.value('objects')
    for (const options of [{}, {}, { state }, { full: true }, {}]) await history.take(archive, options)
    expect(await archive.verify()).toMatchObject({ ok: true })
    const frames = await listOf(archive)
    damage(join(place, file))
    // A reader, which has nothing cached.
    await using reader = await openArchive(place, { readOnly: true })
    const report = await reader.verify()
    const broken = affected[file] as number[]
    expect(
      report.frames.map(({ number, ok }) => [number, ok]),
      what,
    ).toEqual([1, 2, 3, 4, 5].map((number) => [number, !broken.includes(number)]))
    expect(report.ok).toBe(false)
    for (const { ok, problems } of report.frames) {
      expect(problems.length > 0).toBe(!ok)
      if (!ok)
        expect(JSON.stringify(problems), what).toContain(
          basename(file).replace(/\..*/, '').replace(/^0+/, ''),
        )
    }
    for (const { id, number } of frames) {
      if (!broken.includes(number)) (await reader.restore({ id })).close()
      else
        expect((await rejectionOf(reader.restore({ id }))).code, what).toMatch(
          /CORRUPT|FORMAT|PARENT|NOT_FOUND/,
        )
    }
    history.close()
  }
})

test('it can be followed and aborted', async () => {
  const history = new History()
  await using archive = await openArchive(inDirectory('archive'))
  for (let n = 0; n < 3; n++) await history.take(archive)
  const seen: object[] = []
  await archive.verify({ onProgress: (progress) => void seen.push(progress) })
  expect(seen).toEqual([1, 2, 3].map((framesDone) => ({ framesDone, framesTotal: 3 })))
  const reason = new Error('enough')
  const controller = new AbortController()
  const stopped = archive.verify({
    signal: controller.signal,
    onProgress: () => controller.abort(reason),
  })
  expect(await rejectionOf(stopped)).toBe(reason)
})

test('nothing is written by those who only read', async () => {
  const place = inDirectory('archive')
  const history = new History()
  const archive = await openArchive(place)
  for (let n = 0; n < 3; n++) await history.take(archive)
  await archive.close()
  const contents = () => readdirSync(place).map((name) => [name, hashOf(readFileSync(join(place, name)))])
  const before = contents()
  await using reader = await openArchive(place, { readOnly: true })
  await reader.verify()
  ;(await reader.restore()).close()
  expect(await listOf(reader)).toHaveLength(3)
  expect(contents()).toEqual(before)
})

test('after damage was found the next frame builds on nothing that may be part of it', async () => {
  const place = inDirectory('archive')
  const history = new History()
  await using archive = await openArchive(place)
  for (let n = 0; n < 3; n++) await history.take(archive)
  damages['a flipped byte']?.(join(place, '0000000001.sf'))
  const [, , third] = await listOf(archive)
  // Only the third frame is known to be damaged now; the second builds on the same file.
  await rejectionOf(archive.restore({ id: third?.id }))
  const id = await history.take(archive)
  expect((await listOf(archive)).at(-1)).toMatchObject({ id, kind: 'full' })
  ;(await archive.restore({ id })).close()
})
