// Promise I1 and I2 in a whole service: examples/vector-service answers requests while it saves itself, and after
// a SIGKILL in the middle of a snapshot it starts again from the last complete one. Proved over a real socket:
// a journal of all writes says what every slot must hold at the sequence number in the snapshot's metadata.

import { readdirSync } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { inspect, type Region, restore } from 'stillframe'
import { afterEach, describe, expect, it } from 'vitest'
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
    VECTOR_SNAPSHOT_SECONDS: '0.1',
  })
  services.push(service)
  return service
}

/** Writes into the first half of the slots until it is stopped, or the service has gone. */
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

/** Searches for vectors of the second half, which nobody writes to; returns how many searches were answered. */
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

/** Waits for a write that was answered while one and the same snapshot was under way, before and after it. */
async function untilWrittenDuringSnapshot(service: Service): Promise<void> {
  let before: Status | undefined
  await service.until((status) => {
    const same = before?.snapshots.progress && before.snapshots.completed === status.snapshots.completed
    const written =
      same && status.snapshots.progress !== undefined && status.sequence > (before?.sequence ?? 0)
    if (!same) before = status
    return written === true
  })
}

/** Compares all of a file with the journal. Returns the first slot that is wrong, in words. */
async function wrongSlotIn(path: string, journal: Journal, capacity: number): Promise<string | undefined> {
  using restored = await restore(path, { mode: 'map' })
  const { sequence } = restored.metadata as { sequence: number }
  const { versions, sequences } = journal.stateAt(sequence, capacity)
  const slots = new Float64Array((restored.regions['slots'] as Region).buffer)
  const vectors = new Float32Array((restored.regions['vectors'] as Region).buffer)
  if (slots[0] !== sequence) return `the memory is of write ${slots[0]}, the metadata of ${sequence}`
  const wanted = new Float32Array(dimensions)
  for (let slot = 0; slot < capacity; slot++) {
    if (slots[2 + slot] !== sequences[slot]) {
      return `slot ${slot} is of write ${slots[2 + slot]} instead of ${sequences[slot]}`
    }
    if (versions[slot] === -1) wanted.fill(0)
    else fillVector(wanted, slot, versions[slot] as number)
    const found = vectors.subarray(slot * dimensions, (slot + 1) * dimensions)
    if (!found.every((value, index) => value === wanted[index])) return `slot ${slot} holds other contents`
  }
  return undefined
}

/** Asks for some slots, and compares with the journal. */
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
  it(`is after a kill in the middle of a snapshot (${kills} times) as at the instant of its last complete snapshot`, async () => {
    const own = join(directory, String(megabytes))
    await mkdir(own)
    const path = join(own, 'vectors.snapshot')
    const environment = {
      VECTOR_FILE: path,
      VECTOR_MEGABYTES: String(megabytes),
      VECTOR_RESTORE_MODE: mode,
    }
    const journal = new Journal(dimensions)
    const random = new Random(megabytes)
    let service = await start(environment)
    const { capacity } = await service.status()
    expect(capacity * dimensions * 4).toBe(megabytes * 2 ** 20)
    for (let first = 0; first < capacity; first += bulk) {
      await journal.write(service, first, Math.min(bulk, capacity - first))
    }

    let inTheMiddle = 0
    for (let kill = 0; kill < kills; kill++) {
      const full = journal.answeredSequence
      await service.until(({ snapshots, sequence }) => (snapshots.last?.sequence ?? sequence) >= full)
      const writing = keepWriting(service, journal, random, capacity)
      const searching = keepSearching(service, journal, random, capacity)
      await untilWrittenDuringSnapshot(service)
      await service.until(() => searching.answered() > 0)
      const { completed } = (await service.status()).snapshots
      const { snapshots } = await service.until((status) => {
        return status.snapshots.completed > completed && (status.snapshots.progress?.bytesDone ?? 0) > 0
      })
      expect(await service.end('SIGKILL')).toBeNull()
      await Promise.all([writing.stop(), searching.stop()])
      expect(searching.wrong).toEqual([])

      const { id, metadata } = await inspect(path)
      const { sequence } = metadata as { sequence: number }
      // Unless the running one was completed after all, between the answer and the signal.
      if (id === snapshots.last?.id) {
        inTheMiddle++
        expect(sequence).toBe(snapshots.last.sequence)
        expect(sequence).toBeLessThan(journal.answeredSequence)
      }
      expect(await wrongSlotIn(path, journal, capacity)).toBeUndefined()
      expect(readdirSync(own)).toEqual(['vectors.snapshot'])

      journal.forgetAfter(sequence)
      service = await start(environment)
      expect(await service.status()).toMatchObject({ sequence, capacity, dimensions })
      expect(await wrongAnswer(service, journal, capacity)).toBeUndefined()
    }
    expect(inTheMiddle).toBeGreaterThan(0)

    // Asked politely, it ends with a snapshot of all that was written.
    await journal.write(service, 0, 3)
    expect(await service.end('SIGTERM')).toBe(0)
    expect((await inspect(path)).metadata).toMatchObject({ sequence: journal.answeredSequence })
    expect(await wrongSlotIn(path, journal, capacity)).toBeUndefined()
  })
})
