// Promise I1, I2 and I15 in a whole service: examples/vector-service answers requests while it
// takes frames of itself, and after a SIGKILL in the middle of a frame it restarts from the last
// complete one. Proved over a real socket: a journal of all writes determines the contents of every
// slot at the sequence number in each frame's memory.

import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Region } from 'stillframe'
import { type Archive, type Frame, openArchive } from 'stillframe/archive'
import { afterEach, describe, expect, it } from 'vitest'
import { strayFilesOf } from '../support/archive-files.js'
import { Random } from '../support/random.mjs'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { fillVector, Journal, Service, type Status } from './vector-service.js'

const directory = sharedTemporaryDirectory()
const dimensions = 64
const bulk = 16_384 // vectors in a write of 4 MiB

const services: Service[] = []
afterEach(async () => {
  for (const service of services.splice(0)) await service.end('SIGKILL')
})

async function start(environment: Record<string, string>): Promise<Service> {
  const service = await Service.start({
    ...environment,
    VECTOR_DIMENSIONS: String(dimensions),
    VECTOR_FRAME_SECONDS: '0.1',
  })
  services.push(service)
  return service
}

/** Writes to the first half of the slots until it is stopped or the service is gone. */
function keepWriting(service: Service, journal: Journal, random: Random, capacity: number) {
  let running = true
  const finished = (async () => {
    while (running) await journal.write(service, random.below(capacity / 2), 1 + random.below(8))
  })().catch(() => {})
  return {
    stop: () => {
      running = false
      return finished
    },
  }
}

/**
 * Searches for vectors of the second half, which is not written to; returns how many searches were
 * answered.
 */
function keepSearching(service: Service, journal: Journal, random: Random, capacity: number) {
  const { versions } = journal.stateAt(journal.answeredSequence, capacity)
  let running = true
  let answered = 0
  const wrong: unknown[] = []
  const finished = (async () => {
    while (running) {
      const slot = capacity / 2 + 8 + random.below(capacity / 2 - 8)
      const vector = new Float32Array(dimensions)
      fillVector(vector, slot, versions[slot] as number)
      const body = JSON.stringify({ vector: [...vector], count: 3 })
      const { found } = (await service.request('POST', '/search', body)) as { found: unknown[] }
      if (JSON.stringify(found[0]) !== JSON.stringify({ slot, distance: 0 })) wrong.push({ slot, found })
      answered++
    }
  })().catch(() => {})
  return {
    wrong,
    answered: () => answered,
    stop: () => {
      running = false
      return finished
    },
  }
}

/**
 * Waits for a write that was answered during one capture: the same frame was in progress before and
 * after it.
 */
async function untilWrittenDuringCapture(service: Service): Promise<void> {
  let before: Status | undefined
  await service.until((status) => {
    const same = before?.frames.capturing && before.frames.taken === status.frames.taken
    const written = same && status.frames.capturing && status.sequence > (before?.sequence ?? 0)
    if (!same) before = status
    return written === true
  })
}

/**
 * The sequence number of a frame's memory, and a description of the first slot that differs from
 * the journal.
 */
async function comparedWithJournal(
  archive: Archive,
  { id }: Frame,
  journal: Journal,
  capacity: number,
): Promise<{ sequence: number; wrong?: string }> {
  using restored = await archive.restore({ id, mode: 'map' })
  const slots = new Float64Array((restored.regions['slots'] as Region).buffer)
  const vectors = new Float32Array((restored.regions['vectors'] as Region).buffer)
  const sequence = slots[0] as number
  const { versions, sequences } = journal.stateAt(sequence, capacity)
  const wanted = new Float32Array(dimensions)
  for (let slot = 0; slot < capacity; slot++) {
    if (slots[2 + slot] !== sequences[slot]) {
      return { sequence, wrong: `slot ${slot} is of write ${slots[2 + slot]} instead of ${sequences[slot]}` }
    }
    if (versions[slot] === -1) wanted.fill(0)
    else fillVector(wanted, slot, versions[slot] as number)
    for (let i = 0, at = slot * dimensions; i < dimensions; i++, at++) {
      if (vectors[at] !== wanted[i]) return { sequence, wrong: `slot ${slot} holds other contents` }
    }
  }
  return { sequence }
}

/**
 * Checks everything that a service left when it ended: only frames, each as it was at its instant.
 *
 * @param told - sequence numbers by id, of the frames that the service has reported.
 * @returns the newest frame, and the sequence number of its memory.
 */
async function soundNewestOf(
  place: string,
  journal: Journal,
  capacity: number,
  told: ReadonlyMap<string, number>,
): Promise<{ id: string; sequence: number }> {
  // As a writer: the lock of the killed service is free, and its unfinished files are removed.
  await using archive = await openArchive(place)
  expect(strayFilesOf(place)).toEqual([])
  let newest: { id: string; sequence: number } | undefined
  for await (const frame of archive.frames()) {
    const { sequence, wrong } = await comparedWithJournal(archive, frame, journal, capacity)
    expect(wrong, `frame ${frame.number}`).toBeUndefined()
    expect(sequence).toBe(told.get(frame.id) ?? sequence)
    expect(sequence).toBeGreaterThanOrEqual(newest?.sequence ?? 0)
    newest = { id: frame.id, sequence }
  }
  if (newest === undefined) throw new Error('there is no frame')
  return newest
}

/** Requests some slots and compares them with the journal. */
async function wrongAnswer(
  service: Service,
  journal: Journal,
  capacity: number,
): Promise<string | undefined> {
  const random = new Random(99)
  const { sequence } = await service.status()
  const { versions, sequences } = journal.stateAt(sequence, capacity)
  const wanted = new Float32Array(dimensions)
  for (let i = 0; i < 300; i++) {
    const slot = random.below(capacity)
    const answer = (await service.request('GET', `/vectors/${slot}`)) as {
      sequence: number
      vector: number[]
    }
    fillVector(wanted, slot, versions[slot] as number)
    const right =
      answer.sequence === sequences[slot] && answer.vector.every((value, at) => value === wanted[at])
    if (!right) return `slot ${slot}: ${JSON.stringify(answer)}`
  }
  return undefined
}

describe.each([
  { megabytes: 48, kills: 4, mode: 'map' },
  { megabytes: 512, kills: 1, mode: 'copy' },
])('a service with a table of $megabytes MiB', ({ megabytes, kills, mode }) => {
  it(`is after a kill in the middle of a frame (${kills} times) as at the instant of its last complete frame`, async () => {
    const own = join(directory, String(megabytes))
    await mkdir(own)
    const place = join(own, 'frames')
    const environment = {
      VECTOR_ARCHIVE: place,
      VECTOR_MEGABYTES: String(megabytes),
      VECTOR_RESTORE_MODE: mode,
    }
    const journal = new Journal(dimensions)
    const random = new Random(megabytes)
    const told = new Map<string, number>()
    let service = await start(environment)
    const { capacity } = await service.status()
    expect(capacity * dimensions * 4).toBe(megabytes * 2 ** 20)
    for (let first = 0; first < capacity; first += bulk) {
      await journal.write(service, first, Math.min(bulk, capacity - first))
    }

    let inTheMiddle = 0
    for (let kill = 0; kill < kills; kill++) {
      const full = journal.answeredSequence
      await service.until(({ frames, sequence }) => (frames.last?.sequence ?? sequence) >= full)
      const writing = keepWriting(service, journal, random, capacity)
      const searching = keepSearching(service, journal, random, capacity)
      await untilWrittenDuringCapture(service)
      await service.until(() => searching.answered() > 0)
      const { taken } = (await service.status()).frames
      const { frames } = await service.until((status) => {
        const { last, capturing } = status.frames
        if (last !== undefined) told.set(last.id, last.sequence)
        return status.frames.taken > taken && capturing
      })
      expect(await service.end('SIGKILL')).toBeNull()
      await Promise.all([writing.stop(), searching.stop()])
      expect(searching.wrong).toEqual([])
      expect(frames.failed).toBe(0)

      const { id, sequence } = await soundNewestOf(place, journal, capacity, told)
      // Unless the frame in progress was completed after all, between the answer and the signal.
      if (id === frames.last?.id) {
        inTheMiddle++
        expect(sequence).toBe(frames.last.sequence)
        expect(sequence).toBeLessThan(journal.answeredSequence)
      }

      journal.forgetAfter(sequence)
      service = await start(environment)
      expect(await service.status()).toMatchObject({ sequence, capacity, dimensions })
      expect(await wrongAnswer(service, journal, capacity)).toBeUndefined()
    }
    expect(inTheMiddle).toBeGreaterThan(0)

    // On SIGTERM, it ends with a frame of everything that was written.
    await journal.write(service, 0, 3)
    expect(await service.end('SIGTERM')).toBe(0)
    const { sequence } = await soundNewestOf(place, journal, capacity, told)
    expect(sequence).toBe(journal.answeredSequence)
  })
})
