/**
 * One schedule: two writers, which upload, commit, drop frames, collect, die and come back; a
 * reader with leases, and a reader without; over a lying store. The seed determines all events and
 * their order.
 */

import { downloadParts } from '../../lib/archive/remote/download.js'
import { openForReading } from '../../lib/archive/remote/remote-reader.js'
import type { RemoteFrame, StoredPart } from '../../lib/archive/remote/remote-state.js'
import { openForWriting, type RemoteWriter } from '../../lib/archive/remote/remote-writer.js'
import { uploadParts } from '../../lib/archive/remote/upload.js'
import { storeFailure } from '../../lib/store/store.js'
import { ExactStore, type Lies, LyingStore } from './lying-store.js'
import { bytesOfFrame, Oracle } from './oracle.js'
import { type Actor, VirtualWorld } from './virtual-world.js'

const settleMs = 60_000
/** Less than settleMs, the lag for which the protocol allows. */
const longestLagMs = 50_000
const partSize = 4

/** Counts of events. The sums show whether the schedules exercise anything. */
export type Tally = Map<string, number>

/** @throws Error with the end of the trace. */
export async function runSchedule(seed: number, tally: Tally = new Map()): Promise<void> {
  const schedule = new Schedule(seed, tally)
  const { now } = Date
  // No code may use the wall clock, so it is off by 12 hours in either direction.
  Date.now = () => {
    return schedule.world.nowMs + schedule.world.random.below(2) * 86_400_000 - 43_200_000
  }
  try {
    await schedule.run()
  } catch (error) {
    const trace = schedule.world.traceOf(Number(process.env['STILLFRAME_TEST_TRACE'] ?? 60))
    const again = `STILLFRAME_TEST_SEED=${seed} STILLFRAME_TEST_SCHEDULES=1`
    throw new Error(`${(error as Error).message}\n(${again} repeats it)\n${trace}`, { cause: error })
  } finally {
    Date.now = now
  }
}

/** A frame on disk that is not known to be in the store. Its parts are its upload journal. */
interface LocalFrame {
  readonly id: string
  parts: StoredPart[]
}

class Schedule {
  readonly world: VirtualWorld
  readonly #tally: Tally
  readonly #oracle: Oracle
  readonly #exact: ExactStore
  readonly #network: Actor
  readonly #lies: Lies
  readonly #graceMs: number
  readonly #leaseMs: number
  /** Frames that both writers see, as if one had been restarted on the machine of the other. */
  readonly #disk: LocalFrame[] = []
  #frames = 0
  /** Maximum pause of an actor between two actions, in milliseconds. */
  readonly #longestPauseMs: number

  constructor(seed: number, tally: Tally) {
    const world = new VirtualWorld(seed)
    this.world = world
    this.#tally = tally
    this.#lies = { percent: world.oneOf([0, 3, 10, 25]), lagMs: world.oneOf([0, longestLagMs]) }
    this.#graceMs = world.oneOf([20_000, 600_000])
    this.#leaseMs = world.oneOf([60_000, 600_000])
    this.#longestPauseMs = world.oneOf([1_000, 20_000, 60_000, this.#graceMs * 1.5])
    this.#oracle = new Oracle(world, () => this.#exact.objects, this.#graceMs)
    this.#exact = new ExactStore(world, world.oneOf([1, 1000]), (key, before, after) => {
      this.#oracle.changed(key, before, after)
    })
    this.#network = world.actor('network')
  }

  async run(): Promise<void> {
    const { world } = this
    for (const name of ['ann', 'bob']) this.#startWriter(name)
    const reader = world.actor('leo')
    world.start(async () => await this.#readWithLeases(reader))
    const looker = world.actor('eve')
    world.start(async () => await this.#readWithoutLease(looker))
    await world.run()
    if (this.#oracle.removed > 0) this.#count('data removed')
    await world.flush()
    await this.#endInPeace()
  }

  #count(what: string): void {
    this.#tally.set(what, (this.#tally.get(what) ?? 0) + 1)
  }

  #storeOf(actor: Actor): LyingStore {
    return new LyingStore(this.#exact, this.world, actor, this.#network, this.#lies)
  }

  async #pause(actor: Actor): Promise<void> {
    const { world } = this
    if (world.chance(50)) {
      const delayMs = world.random.below(world.oneOf([100, this.#longestPauseMs]))
      await world.turn(actor, 'pauses', { delayMs })
    }
  }

  /** Starts one life of a writer. Each life is a separate process. */
  #startWriter(name: string, life = 1): void {
    const { world } = this
    const actor = world.actor(`${name}${life}`)
    const next = (): void => {
      actor.turnsLeft = Number.POSITIVE_INFINITY
      if (life < 3 && world.chance(60)) this.#startWriter(name, life + 1)
    }
    actor.onKilled = () => {
      this.#count('writer killed')
      next()
    }
    if (world.chance(30)) actor.turnsLeft = 1 + world.random.below(200)
    world.start(async () => {
      await this.#write(actor)
      next()
    })
  }

  async #write(actor: Actor): Promise<void> {
    const { world } = this
    await this.#pause(actor)
    const surroundings = world.surroundingsOf(actor)
    const store = this.#storeOf(actor)
    const writer = await this.#expectFailures(async () => {
      return await openForWriting(store, { surroundings, graceMs: this.#graceMs, settleMs })
    })
    if (writer === undefined) return
    this.#count('opened')
    const jobs: Promise<void>[] = []
    for (let operations = 1 + world.random.below(10); operations > 0; operations--) {
      await this.#pause(actor)
      const job = this.#operate(actor, writer, store)
      if (world.chance(60)) await job
      else jobs.push(job.catch((error: unknown) => world.fail(error)))
      if (writer.isFenced) break
    }
    await Promise.all(jobs)
    if (writer.isFenced) this.#count('fenced')
    await writer.close()
  }

  async #operate(actor: Actor, writer: RemoteWriter, store: LyingStore): Promise<void> {
    const { world } = this
    const what = world.oneOf(['copy', 'copy', 'copy', 'copy', 'prune', 'collect', 'collect', 'clean up'])
    if (what === 'copy') await this.#copy(actor, writer, store)
    if (what === 'prune' || what === 'clean up') await this.#prune(writer)
    const collections = what === 'collect' ? 1 : what === 'clean up' ? 4 : 0
    for (let times = 0; times < collections && !writer.isFenced; times++) {
      if (times > 0)
        await world.turn(actor, 'pauses', {
          delayMs: world.oneOf([settleMs + 5_000, settleMs + 5_000, 1_000 + this.#graceMs / 2]),
        })
      const collected = await this.#expectFailures(async () => await writer.collect())
      if (collected !== undefined) this.#count('collected')
      if ((collected?.objects ?? 0) > 0) this.#count('collected something')
      if ((collected?.leases ?? 0) > 0) this.#count('collected beside a lease')
    }
  }

  /** Copies a frame into the store: a new one, or one that another process has begun to copy. */
  async #copy(actor: Actor, writer: RemoteWriter, store: LyingStore): Promise<void> {
    const { world } = this
    const open = this.#disk.filter(({ id }) => !writer.frames.some((frame) => frame.id === id))
    let local = world.chance(60) && open.length > 0 ? world.oneOf(open) : undefined
    if (local === undefined) {
      local = { id: `f${++this.#frames}`, parts: [] }
      this.#disk.push(local)
    }
    const isCopied = await this.#expectFailures(async () => {
      await this.#copyFrame(actor, writer, store, local)
      return true
    })
    if (isCopied === undefined) return
    this.#disk.splice(this.#disk.indexOf(local), 1)
    this.#count('committed')
  }

  async #copyFrame(actor: Actor, writer: RemoteWriter, store: LyingStore, local: LocalFrame): Promise<void> {
    const { world } = this
    const { id } = local
    const upload = await writer.beginUpload(id, local.parts)
    try {
      if (upload.present.length > 0) this.#count('went on with an upload')
      await this.#pause(actor)
      const bytes = bytesOfFrame(id)
      const memory = await uploadParts({
        store,
        frameId: id,
        file: 'memory',
        source: {
          size: bytes.byteLength,
          async read(start, memory) {
            memory.set(bytes.subarray(start, start + memory.length))
          },
        },
        present: upload.present,
        partSize,
        surroundings: world.surroundingsOf(actor),
        onPart: async (part) => {
          local.parts = [...local.parts, part]
          await this.#pause(actor)
          if (world.chance(5)) throw storeFailure(part.key, 'the disk is gone for a while')
        },
      })
      const frame = { number: Number(id.slice(1)), id, objects: { memory } } as unknown as RemoteFrame
      const commit = async (): Promise<void> => {
        await writer.commit((frames) =>
          frames.some((other) => other.id === id) ? frames : [...frames, frame],
        )
        this.#oracle.toldCommitted(writer, id)
      }
      await commit().catch(async (error: { code?: string }) => {
        if (error.code === 'ERR_STILLFRAME_NOT_FOUND' && !this.#oracle.wasCommitted(id)) {
          throw new Error(`objects of ${id} were removed before it was committed`)
        }
        if (error.code !== 'ERR_STILLFRAME_IO' || world.chance(30)) throw error
        this.#count('committed again')
        await this.#pause(actor)
        await commit()
      })
    } finally {
      upload.end()
    }
  }

  async #prune(writer: RemoteWriter): Promise<void> {
    let given = 0
    const keep = this.world.random.below(3)
    const isDone = await this.#expectFailures(async () => {
      await writer.commit((frames) => {
        if (frames.length <= keep) return frames
        const rest = frames.slice(frames.length - keep)
        for (const { id } of frames.slice(0, frames.length - keep)) {
          this.#oracle.willGiveUp(writer.epoch, id)
          given++
        }
        return rest
      })
      return true
    })
    if (isDone === undefined) return
    this.#oracle.toldOf(writer)
    if (given > 0) this.#count('gave up')
  }

  async #readWithLeases(actor: Actor): Promise<void> {
    const { world } = this
    const store = this.#storeOf(actor)
    const surroundings = world.surroundingsOf(actor)
    await this.#somethingToRead(actor)
    for (let times = 1 + world.random.below(3); times > 0; times--) {
      await this.#pause(actor)
      const toldBefore = this.#oracle.toldVersion
      const lease = await this.#expectFailures(async () => {
        const reader = await openForReading(store, { surroundings })
        return await reader.lease(this.#leaseMs)
      })
      if (lease === undefined) continue
      this.#count('leased')
      this.#oracle.hold(lease)
      this.#oracle.toldRead(lease.version, lease.frames, toldBefore)
      const longestHoldMs = world.oneOf([1_000, this.#leaseMs * 2, this.#graceMs + 5 * settleMs])
      await world.turn(actor, 'holds', { delayMs: world.random.below(longestHoldMs) })
      for (const frame of lease.frames) {
        await this.#pause(actor)
        await this.#read(actor, store, frame, () => lease.isHeld)
      }
      if (!lease.isHeld) this.#count('lease lapsed')
      this.#oracle.letGo(lease)
      await this.#expectFailures(async () => await lease.release())
    }
  }

  async #readWithoutLease(actor: Actor): Promise<void> {
    const { world } = this
    const store = this.#storeOf(actor)
    await this.#somethingToRead(actor)
    for (let times = 1 + world.random.below(3); times > 0; times--) {
      await this.#pause(actor)
      const sinceMs = world.nowMs
      const toldBefore = this.#oracle.toldVersion
      const reader = await this.#expectFailures(async () => {
        return await openForReading(store, { surroundings: world.surroundingsOf(actor) })
      })
      if (reader === undefined) continue
      this.#oracle.look(reader.frames, sinceMs)
      this.#oracle.toldRead(reader.version, reader.frames, toldBefore)
      for (const frame of reader.frames) {
        await this.#pause(actor)
        await this.#read(actor, store, frame, () => world.nowMs - sinceMs <= this.#graceMs)
      }
    }
  }

  /** Waits for a frame to read. Gives up after some time, since there may never be one. */
  async #somethingToRead(actor: Actor): Promise<void> {
    const { world } = this
    for (let looks = 0; looks < 40 && (this.#oracle.newest?.frames ?? []).length === 0; looks++) {
      await world.turn(actor, 'waits', { delayMs: world.random.below(this.#longestPauseMs) })
    }
  }

  /** @param isPromised - returns true if the frame must still be there. */
  async #read(actor: Actor, store: LyingStore, frame: RemoteFrame, isPromised: () => boolean): Promise<void> {
    const expected = bytesOfFrame(frame.id)
    const found = new Uint8Array(expected.length)
    try {
      await downloadParts({
        store,
        parts: frame.objects.memory,
        target: {
          async write(offset, bytes) {
            found.set(bytes, offset)
          },
        },
        rangeSize: 3,
        maxBytesInFlight: 9,
        surroundings: this.world.surroundingsOf(actor),
      })
    } catch (error) {
      const { code } = error as { code?: string }
      if (code === 'ERR_STILLFRAME_NOT_FOUND' && isPromised())
        throw new Error(`${frame.id} is gone for a reader`)
      if (code !== 'ERR_STILLFRAME_NOT_FOUND' && code !== 'ERR_STILLFRAME_IO') throw error
      this.#count(`read: ${code}`)
      return
    }
    if (Buffer.compare(found, expected) !== 0) throw new Error(`${frame.id} is read wrong`)
    this.#count('read')
  }

  /** Returns undefined if the action fails with an expected error. */
  async #expectFailures<Value>(action: () => Promise<Value>): Promise<Value | undefined> {
    try {
      return await action()
    } catch (error) {
      const { code } = error as { code?: string }
      const mayBe = ['ERR_STILLFRAME_IO', 'ERR_STILLFRAME_FENCED', 'ERR_STILLFRAME_NOT_FOUND']
      if (code === undefined || !mayBe.includes(code)) throw error
      this.#count(code)
      return undefined
    }
  }

  /** Makes the store honest again, and lets a last writer clean up. */
  async #endInPeace(): Promise<void> {
    const { world } = this
    this.#lies.percent = 0
    this.#lies.lagMs = 0
    const actor = world.actor('zoe')
    const store = this.#storeOf(actor)
    world.start(async () => {
      const surroundings = world.surroundingsOf(actor)
      const writer = await openForWriting(store, { surroundings, graceMs: this.#graceMs, settleMs })
      for (let round = 0; round < 4; round++) {
        // Includes an hour for probes.
        world.nowMs += this.#graceMs + this.#leaseMs + 3_700_000
        await writer.collect()
      }
      await writer.close()
      this.#oracle.checkNothingLeft()
      const reader = await openForReading(store, { surroundings })
      this.#oracle.toldRead(reader.version, reader.frames, this.#oracle.newest?.version ?? 0)
      for (const frame of reader.frames) await this.#read(actor, store, frame, () => true)
    })
    await world.run()
  }
}
