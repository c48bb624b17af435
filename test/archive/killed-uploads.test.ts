/**
 * Promise: a service killed at any moment of an upload loses no frame that was reported to be in
 * the store, and everything there is whole; the next process does not resend what is there, and
 * uploads that no process continues are collected after their grace period (I16, I17).
 *
 * Proved with services that upload to Ceph's gateway and are killed at random moments around each
 * kind of request, and by asking the gateway what it holds.
 */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ListMultipartUploadsCommand, type S3Client } from '@aws-sdk/client-s3'
import { type Archive, openArchive } from 'stillframe/archive'
import { expect, test } from 'vitest'
import { decodeChecked } from '../../lib/archive/checked-json.js'
import { openForReading, openForWriting } from '../../lib/archive/remote/index.js'
import { keysOf } from '../../lib/archive/remote/remote-state.js'
import { s3 } from '../../lib/s3/index.js'
import type { ObjectStore } from '../../lib/store/store.js'
import { type Report, startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { fillPattern } from '../support/pattern.mjs'
import { Random, testSeed } from '../support/random.mjs'
import { clientOf, needsS3Server, newBucket, type S3Server } from '../support/s3-server.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { fillFrame } from './fixtures/frame-memory.mjs'
import { listOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const fixture = new URL('fixtures/into-bucket.mjs', import.meta.url)
const random = new Random(testSeed)
const kills = longMode ? 28 : 7
const prefix = 'orders'
/**
 * Two parts of a multipart upload for each file, so that a file is neither one request nor many.
 */
const memoryBytes = 8 * 2 ** 20 + 65_536
const stateBytes = 8 * 2 ** 20 + 65_536

interface Place {
  readonly server: S3Server
  readonly client: S3Client
  readonly bucket: string
  readonly store: ObjectStore
}

/** Events around which the service is killed, in turn. */
const moments: ((told: Report) => boolean)[] = [
  ({ request, key }) => request === 'UploadPart' && isOf('state', key),
  ({ request, key }) => request === 'CompleteMultipartUpload' && isOf('memory', key),
  ({ request, key }) => request === 'PutObject' && String(key).startsWith('manifest/'),
  ({ request, key }) => request === 'CompleteMultipartUpload' && isOf('state', key),
  ({ request, key }) => request === 'UploadPart' && isOf('memory', key),
  ({ request, key }) => request === 'CreateMultipartUpload' && isOf('state', key),
  ({ copied }) => copied !== undefined,
]

function isOf(file: 'memory' | 'state', key: unknown): boolean {
  return new RegExp(`^data/.*/${file === 'memory' ? 'm' : 's'}\\d+$`).test(String(key))
}

/** The frame and the part of it, regardless of the attempt. */
function partOf(key: string): string {
  const [, frame, , part] = key.split('/')
  return `${frame} ${part}`
}

/** Everything that the services have reported so far. */
interface History {
  /** Turns by id. */
  readonly complete: Map<string, number>
  readonly inStore: Map<string, number>
  lastTurn: number
}

/** @returns the parts whose upload was started. */
async function runUntilKilled(
  { server, bucket }: Place,
  directory: string,
  history: History,
  moment: (told: Report) => boolean,
): Promise<Set<string>> {
  const where = JSON.stringify({ server, bucket, prefix, memoryBytes, stateBytes })
  const service = startFixture(fixture, [directory, where, String(history.lastTurn + 1)])
  const begun = new Set<string>()
  const note = (told: Report): void => {
    const { request, key, complete, copied, turn } = told
    if ((request === 'CreateMultipartUpload' || request === 'PutObject') && key?.startsWith('data/'))
      begun.add(partOf(key))
    if (complete !== undefined) history.complete.set(complete, turn)
    if (copied !== undefined) history.inStore.set(copied, turn)
    if (turn !== undefined) history.lastTurn = turn
  }
  // Skips the first occurrence at random, since it may belong to an upload that the previous
  // process had started.
  for (let seen = random.below(2); ; ) {
    const told = await service.report()
    note(told)
    if (moment(told) && --seen < 0) break
  }
  await new Promise((resolve) => setTimeout(resolve, random.below(60)))
  service.child.kill('SIGKILL')
  const { stderr } = await service.end
  expect(stderr).not.toMatch(/Error:/)
  while (service.hasReport) note(await service.report())
  history.lastTurn = Math.max(history.lastTurn, ...history.complete.values()) + 1
  return begun
}

/** Parts that are in the store according to the journal. */
function partsInJournal(directory: string): string[] {
  let text: string
  try {
    text = readFileSync(join(directory, 'upload.json'), 'utf8')
  } catch {
    return []
  }
  const { parts } = decodeChecked(text) as { parts: Record<string, { key: string }[]> }
  return Object.values(parts).flatMap((of) => of.map(({ key }) => partOf(key)))
}

/** Frames that do not restore to the original memory and objects. */
async function wrongOf(archive: Archive, ids: Iterable<string>): Promise<string[]> {
  const wrong: string[] = []
  for (const id of ids) {
    const restored = await archive.restore<number>({ id })
    const turn = restored.metadata as number
    const memory = Buffer.from(restored.regions['main']?.buffer as ArrayBuffer)
    const objects: unknown[] = []
    for await (const value of restored.state()) objects.push(value)
    const state = Buffer.from(fillPattern(new ArrayBuffer(stateBytes), turn))
    const isRight =
      memory.equals(fillFrame(new ArrayBuffer(memoryBytes), turn)) &&
      objects.length === 1 &&
      state.equals(Buffer.from(objects[0] as Uint8Array))
    if (!isRight) wrong.push(`${id} of turn ${turn}`)
    restored.close()
  }
  return wrong
}

/** @param seen - ids that have been checked before; ids found correct are added. */
async function checkStore(store: ObjectStore, history: History, seen: Set<string>): Promise<void> {
  if (history.inStore.size === 0) return
  await using reader = await openArchive(store, { readOnly: true })
  const ids = (await listOf(reader)).map(({ id }) => id)
  expect(ids).toEqual(expect.arrayContaining([...history.inStore.keys()]))
  expect(
    await wrongOf(
      reader,
      ids.filter((id) => !seen.has(id)),
    ),
  ).toEqual([])
  for (const id of ids) seen.add(id)
}

async function unfinishedIn({ client, bucket }: Place): Promise<number> {
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }))
  return Uploads.length
}

async function dataIn(store: ObjectStore): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list('data/')) keys.push(key)
  return keys.sort()
}

/**
 * Checks that everything remains until the grace period has passed, and then only what the frames
 * need.
 */
async function checkCollected(place: Place): Promise<void> {
  const { store } = place
  const [unfinished, data] = [await unfinishedIn(place), await dataIn(store)]
  expect(unfinished).toBeGreaterThan(0)
  const patient = await openForWriting(store)
  expect(await patient.collect()).toMatchObject({ unfinished: 0 })
  await patient.close()
  expect(await unfinishedIn(place)).toBe(unfinished)
  expect(await dataIn(store)).toEqual(data)
  const writer = await openForWriting(store, { graceMs: 0, settleMs: 0 })
  let removed = 0
  for (let round = 0; round < 2; round++) {
    // The store's clock decides, and it has a resolution of one second.
    await new Promise((resolve) => setTimeout(resolve, 3_500))
    removed += (await writer.collect()).unfinished
  }
  await writer.close()
  expect(removed).toBe(unfinished)
  expect(await unfinishedIn(place)).toBe(0)
  const { frames } = await openForReading(store)
  expect(await dataIn(store)).toEqual([...keysOf(frames)].sort())
}

async function killAndCheck(place: Place, directory: string): Promise<void> {
  const history: History = { complete: new Map(), inStore: new Map(), lastTurn: 0 }
  const seen = new Set<string>()
  let goneOnWith = 0
  for (let kill = 0; kill < kills; kill++) {
    const present = directory === '' ? [] : partsInJournal(directory)
    const moment = moments[kill % moments.length] as (typeof moments)[number]
    const begun = await runUntilKilled(place, directory, history, moment)
    // What is in the store is not sent again.
    expect(present.filter((part) => begun.has(part))).toEqual([])
    goneOnWith += present.length
    await checkStore(place.store, history, seen)
  }
  if (directory !== '') {
    expect(goneOnWith).toBeGreaterThan(0)
    // Frames captured by a process that was killed before copying them are copied by the next one.
    await using archive = await openArchive(directory, { store: place.store })
    await archive.copied()
    for (const [id, turn] of history.complete) history.inStore.set(id, turn)
  }
  await checkCollected(place)
  expect(history.inStore.size).toBeGreaterThan(0)
  await checkStore(place.store, history, new Set())
}

test(`services are killed ${kills} times each, with a directory and without (seed ${testSeed})`, async (context) => {
  const server = await needsS3Server(context)
  const client = clientOf(server)
  const kinds = ['archive', ''].map(async (name) => {
    const bucket = await newBucket(client)
    const place = { server, client, bucket, store: s3({ client, bucket, prefix }) }
    await killAndCheck(place, name === '' ? '' : inDirectory(name))
  })
  const outcomes = await Promise.allSettled(kinds)
  client.destroy()
  for (const outcome of outcomes) if (outcome.status === 'rejected') throw outcome.reason
}, 1_200_000)
