/**
 * Conditions that the archive of fixtures/turns.mjs must meet after the service has ended in any
 * way.
 */

import { existsSync, readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { type Archive, openArchive } from 'stillframe/archive'
import { expect } from 'vitest'
import { fillFrame } from './fixtures/frame-memory.mjs'
import { listOf } from './history.js'

/** Everything that the service reported before its end. */
export interface Told {
  /** Seeds of frames by id. */
  complete: Map<string, number>
  givingUp: Set<string>
  end: boolean
}

/**
 * Checks that the frames reported complete are there, and that each listed frame is whole, both for
 * a reader and for the next writer. Removes the archive.
 *
 * @param goOn - the next writer also takes a frame and prunes the others.
 */
export async function checkAfterCrash(place: string, told: Told, what: string, goOn = true): Promise<void> {
  // A reader comes first, while everything is as the dead writer left it.
  if (existsSync(join(place, 'archive.json'))) {
    await using reader = await openArchive(place, { readOnly: true })
    await checkFrames(reader, told, `${what}, read only`)
  }
  await using archive = await openArchive(place)
  await checkFrames(archive, told, what)
  if (goOn) await takeAnother(archive, place, what)
  await archive.close()
  rmSync(place, { recursive: true })
}

/**
 * Checks that frames can be taken as before, and that leftovers disappear with the frames they
 * belong to.
 */
async function takeAnother(archive: Archive, place: string, what: string): Promise<void> {
  const listed = await listOf(archive)
  const next = Math.max(0, ...listed.map(({ number }) => number)) + 1
  const region = new ArrayBuffer(128 * 1024)
  fillFrame(region, 1)
  await archive.capture(region, { metadata: 1, full: true }).done
  const [last] = (await listOf(archive)).slice(-1)
  expect(last?.number, what).toBeGreaterThanOrEqual(next)
  await archive.prune({ retention: { last: 1 } })
  const left = readdirSync(place).filter((name) => !name.startsWith(String(last?.number).padStart(10, '0')))
  expect(left, what).toEqual(['archive.json', 'writer.lock'])
}

async function checkFrames(
  archive: Awaited<ReturnType<typeof openArchive>>,
  told: Told,
  what: string,
): Promise<void> {
  const listed = await listOf(archive)
  const ids = listed.map(({ id }) => id)
  for (const id of told.complete.keys()) {
    if (!told.givingUp.has(id)) expect(ids, `${what}: ${id} was told complete`).toContain(id)
  }
  // At most one more, whose completion could not be reported.
  expect(ids.filter((id) => !told.complete.has(id)).length, what).toBeLessThanOrEqual(1)
  for (const { id } of listed) {
    const restored = await archive.restore<number>({ id })
    const seed = restored.metadata as number
    if (told.complete.has(id)) expect(seed, what).toBe(told.complete.get(id))
    const expected = fillFrame(new ArrayBuffer(128 * 1024), seed)
    expect(
      Buffer.compare(new Uint8Array(restored.regions['main']?.buffer as ArrayBuffer), expected),
      what,
    ).toBe(0)
    const objects: unknown[] = []
    for await (const value of restored.state()) objects.push(value)
    expect(objects, what).toEqual(seed % 3 === 0 ? [{ turn: seed }] : [])
    restored.close()
  }
}
