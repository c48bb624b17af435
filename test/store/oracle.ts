/**
 * Checks all invariants on every change of the exact store, and on everything that actors are told.
 * Unlike any actor, it sees which manifest was the first at its version, and therefore is the
 * commit.
 */

import { crc32 } from 'node:zlib'
import type { Lease } from '../../lib/archive/remote/lease.js'
import { boundaryKey, dataPrefix, versionOf } from '../../lib/archive/remote/names.js'
import {
  decodeState,
  keysOf,
  type RemoteFrame,
  type RemoteState,
} from '../../lib/archive/remote/remote-state.js'
import type { RemoteWriter } from '../../lib/archive/remote/remote-writer.js'
import { Random } from '../support/random.mjs'
import type { VirtualWorld } from './virtual-world.js'

type Entry = { body: Uint8Array; lastModifiedMs: number }

/** The memory of a frame. */
export function bytesOfFrame(id: string): Uint8Array {
  const random = new Random(crc32(id))
  const bytes = new Uint8Array(1 + random.below(12))
  random.fill(bytes)
  return bytes
}

export class Oracle {
  readonly #world: VirtualWorld
  readonly #objects: () => ReadonlyMap<string, Entry>
  readonly #graceMs: number
  /** The commits by version, without gaps, from 1. */
  readonly #commits = new Map<number, RemoteState>()
  #newest = 0
  readonly #everCommitted = new Set<string>()
  /** Frames that writers intended to drop, as `epoch:id`. */
  readonly #given = new Set<string>()
  /** The highest version that any actor was told. */
  #toldVersion = 0
  readonly #leases = new Set<Lease>()
  readonly #views: { keys: ReadonlySet<string>; sinceMs: number }[] = []
  #boundary = 0
  /** Number of objects removed below `data/`. */
  removed = 0

  constructor(world: VirtualWorld, objects: () => ReadonlyMap<string, Entry>, graceMs: number) {
    this.#world = world
    this.#objects = objects
    this.#graceMs = graceMs
  }

  get toldVersion(): number {
    return this.#toldVersion
  }

  get newest(): RemoteState | undefined {
    return this.#commits.get(this.#newest)
  }

  /** A writer of this epoch is about to commit frames without this one. */
  willGiveUp(epoch: number, id: string): void {
    this.#given.add(`${epoch}:${id}`)
  }

  /** A writer was told that this frame is committed. It may have dropped the frame since. */
  toldCommitted(writer: RemoteWriter, id: string): void {
    this.toldOf(writer)
    this.#demand(this.#everCommitted.has(id), `${id} is told committed, and never was`)
  }

  /** True if the frame has ever been part of a commit. */
  wasCommitted(id: string): boolean {
    return this.#everCommitted.has(id)
  }

  /** Checks that the version of a writer is a commit, and the writer's own. */
  toldOf({ version, epoch, frames }: RemoteWriter): void {
    this.#told(version, frames, `a writer of epoch ${epoch}`)
    this.#demand(this.#commits.get(version)?.epoch === epoch, `version ${version} is of another writer`)
  }

  /** @param toldBefore - {@link toldVersion} when the reader began. */
  toldRead(version: number, frames: readonly RemoteFrame[], toldBefore: number): void {
    this.#told(version, frames, 'a reader')
    this.#demand(version >= toldBefore, `a reader gets version ${version} after ${toldBefore} was told`)
  }

  #told(version: number, frames: readonly RemoteFrame[], whom: string): void {
    const commit = this.#commits.get(version)
    this.#demand(commit !== undefined, `${whom} is told version ${version}, which is no commit`)
    const [told, committed] = [frames, commit?.frames].map((list) => JSON.stringify(list))
    this.#demand(told === committed, `${whom} is told other frames than version ${version} has`)
    this.#toldVersion = Math.max(this.#toldVersion, version)
  }

  hold(lease: Lease): void {
    this.#leases.add(lease)
    for (const key of keysOf(lease.frames)) {
      if (lease.isHeld) this.#demand(this.#objects().has(key), `${key} is missing under a new lease`)
    }
  }

  letGo(lease: Lease): void {
    this.#leases.delete(lease)
  }

  /** A reader without a lease begins to read, and is protected for the grace period. */
  look(frames: readonly RemoteFrame[], sinceMs: number): void {
    this.#views.push({ keys: keysOf(frames), sinceMs })
  }

  changed(key: string, before: Entry | undefined, after: Entry | undefined): void {
    try {
      const version = versionOf(key)
      if (version !== undefined) this.#manifestChanged(version, before, after)
      else if (key === boundaryKey) this.#boundaryChanged(after)
      else if (key.startsWith(dataPrefix)) this.#dataChanged(key, before, after)
    } catch (error) {
      this.#world.fail(error)
    }
  }

  #manifestChanged(version: number, before: Entry | undefined, after: Entry | undefined): void {
    if (before !== undefined) {
      this.#demand(after === undefined, `manifest ${version} is overwritten`)
      this.#demand(version < this.#boundary, `manifest ${version} is removed at boundary ${this.#boundary}`)
      this.#demand(version < this.#newest - 1, `manifest ${version} is removed, of ${this.#newest}`)
    } else if (after !== undefined && !this.#commits.has(version)) {
      this.#demand(version === this.#newest + 1, `version ${version} follows ${this.#newest}`)
      this.#committed(decodeState(after.body, version))
    }
  }

  #committed(state: RemoteState): void {
    const before = this.newest
    this.#commits.set(state.version, state)
    this.#newest = state.version
    for (const { id } of state.frames) this.#everCommitted.add(id)
    const { epoch } = state
    const oldEpoch = before?.epoch ?? 0
    this.#demand(epoch >= oldEpoch, `epoch ${epoch} commits after epoch ${oldEpoch}`)
    const frames = new Map(state.frames.map((frame) => [frame.id, frame]))
    this.#demand(frames.size === state.frames.length, 'a frame is there twice')
    for (const frame of before?.frames ?? []) {
      const now = frames.get(frame.id)
      const isGiven = this.#given.has(`${epoch}:${frame.id}`)
      this.#demand(now !== undefined || isGiven, `${frame.id} is lost in version ${state.version}`)
      const same = now === undefined || JSON.stringify(now) === JSON.stringify(frame)
      this.#demand(same, `${frame.id} is another one in version ${state.version}`)
      frames.delete(frame.id)
    }
    this.#demand(epoch === oldEpoch || frames.size === 0, 'the first commit of a writer adds frames')
    for (const frame of frames.values()) this.checkWhole(frame)
  }

  /** Checks that all bytes of a frame are present and correct. */
  checkWhole({ id, objects }: RemoteFrame): void {
    const bytes: number[] = []
    for (const { key } of objects.memory) {
      const there = this.#objects().get(key)
      this.#demand(there !== undefined, `${key} of a committed frame is not there`)
      bytes.push(...(there?.body ?? []))
    }
    const isSame = Buffer.compare(Uint8Array.from(bytes), bytesOfFrame(id)) === 0
    this.#demand(isSame, `${id} has the bytes of something else`)
  }

  #boundaryChanged(after: Entry | undefined): void {
    const { oldest } = JSON.parse(Buffer.from(after?.body ?? '{}').toString()) as { oldest?: number }
    this.#demand(Number(oldest) >= this.#boundary, `the boundary goes from ${this.#boundary} to ${oldest}`)
    this.#demand(Number(oldest) < this.#newest, `the boundary is at ${oldest} of ${this.#newest}`)
    this.#boundary = Number(oldest)
  }

  #dataChanged(key: string, before: Entry | undefined, after: Entry | undefined): void {
    if (before === undefined) return
    if (after !== undefined) {
      this.#demand(Buffer.compare(before.body, after.body) === 0, `${key} is overwritten`)
      return
    }
    this.removed++
    this.#demand(!keysOf(this.newest?.frames ?? []).has(key), `${key} is removed, and needed`)
    for (const lease of this.#leases) {
      if (lease.isHeld) this.#demand(!keysOf(lease.frames).has(key), `${key} is removed under a lease`)
    }
    for (const { keys, sinceMs } of this.#views) {
      const isOver = this.#world.nowMs - sinceMs > this.#graceMs
      this.#demand(isOver || !keys.has(key), `${key} is removed within the grace of a reader`)
    }
  }

  /** Checks at the end, after all periods have expired, that nothing unneeded is left. */
  checkNothingLeft(): void {
    const newest = this.newest
    const needed = keysOf(newest?.frames ?? [])
    for (const frame of newest?.frames ?? []) this.checkWhole(frame)
    for (const key of this.#objects().keys()) {
      const version = versionOf(key)
      const isNeeded =
        needed.has(key) || key === boundaryKey || (version !== undefined && version >= this.#newest - 2)
      this.#demand(isNeeded, `${key} is left`)
    }
  }

  #demand(holds: boolean, otherwise: string): void {
    if (!holds) throw new Error(otherwise)
  }
}
