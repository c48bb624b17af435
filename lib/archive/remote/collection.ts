/**
 * Removes objects that are no longer needed. Every removal is safe whatever happens meanwhile, and
 * however late a delete request takes effect:
 *
 * - **Garbage**: objects of pruned frames, which never come into use again. Readers of older
 *   versions hold leases, but lists may lag. So the leases are listed only after the boundary has
 *   been above these versions for a while; a lease on one of them cannot have been taken since.
 * - **Orphans**: objects that no manifest names and that are older than the grace period. They are
 *   left over from failed uploads. A later writer may continue such an upload, but not with parts
 *   of that age. This writer also checks, after listing the orphans, that no later writer exists.
 * - Uploads of that age that were never finished, in stores that keep the data of such uploads.
 * - Manifests below the boundary, dead leases, and old probes.
 */

import type { ListedObject, ObjectStore } from '../../store/store.js'
import { readBoundary } from './boundary.js'
import { type FoundLease, readLeases } from './lease.js'
import { dataPrefix, frameIdOf, manifestPrefix, probePrefix, versionOf } from './names.js'
import type { Read } from './reading.js'
import { type Garbage, keysOf, type RemoteState } from './remote-state.js'
import { clockSlackMs } from './store-clock.js'

/** Contents of the store at one time. */
export interface Survey {
  /** By the clock of the store, read before anything else. */
  readonly nowMs: number
  readonly boundary: Read<number> | undefined
  /** True if {@link leases} contains every lease that was taken below the boundary. */
  readonly isSettled: boolean
  readonly leases: readonly FoundLease[]
  /** Objects below `data/` that are older than the grace period. */
  readonly oldData: readonly ListedObject[]
  /** Probes of processes that no longer exist. */
  readonly oldProbes: readonly string[]
}

export interface Periods {
  readonly graceMs: number
  /** The longest time for which a list may lag. */
  readonly settleMs: number
}

/**
 * An hour. If the probe of a process that is slowly opening the archive were removed, that process
 * would conclude that the store loses objects.
 */
const probeLifeMs = 3_600_000

export async function surveyStore(
  store: ObjectStore,
  nowMs: number,
  { graceMs, settleMs }: Periods,
): Promise<Survey> {
  const isOlderThan = (ms: number, putMs: number): boolean => nowMs - putMs > ms + clockSlackMs
  const boundary = await readBoundary(store)
  const isSettled = boundary !== undefined && isOlderThan(settleMs, boundary.putMs)
  const leases = await readLeases(store, nowMs)
  const oldData: ListedObject[] = []
  for await (const object of store.list(dataPrefix)) {
    if (isOlderThan(graceMs, object.lastModified.getTime())) oldData.push(object)
  }
  const oldProbes: string[] = []
  for await (const { key, lastModified } of store.list(probePrefix)) {
    if (isOlderThan(probeLifeMs, lastModified.getTime())) oldProbes.push(key)
  }
  return { nowMs, boundary, isSettled, leases, oldData, oldProbes }
}

/**
 * Garbage older than the grace period. A reader that is not allowed to put a lease has that long to
 * finish.
 */
function oldGarbage({ garbage }: RemoteState, { nowMs }: Survey, { graceMs }: Periods): Garbage[] {
  return garbage.filter(({ sinceMs }) => sinceMs !== undefined && nowMs - sinceMs > graceMs + clockSlackMs)
}

/** The entries of {@link RemoteState.garbage} that can be removed. */
export function removableGarbage(state: RemoteState, survey: Survey, periods: Periods): Garbage[] {
  const { boundary, isSettled, leases } = survey
  if (boundary === undefined || !isSettled) return []
  return oldGarbage(state, survey, periods).filter(({ version }) => {
    return version <= boundary.value && !leases.some((lease) => lease.isAlive && lease.version < version)
  })
}

/**
 * True if there is old garbage that can be removed only after another commit, because the last two
 * versions are always kept.
 */
export function hasLastGarbage(state: RemoteState, survey: Survey, periods: Periods): boolean {
  return oldGarbage(state, survey, periods).some(({ version }) => version >= state.version)
}

/**
 * @param state - the version in force at some moment after the survey.
 * @param isUnderWay - true if this writer is uploading objects of the frame, or has yet to commit
 *   it.
 */
export function orphansOf(
  state: RemoteState,
  { oldData }: Survey,
  isUnderWay: (frameId: string) => boolean,
): ListedObject[] {
  const named = keysOf(state.frames)
  for (const { keys } of state.garbage) for (const key of keys) named.add(key)
  return oldData.filter(({ key }) => !named.has(key) && !isUnderWay(frameIdOf(key)))
}

/**
 * Aborts unfinished uploads. One that began longer than the grace period before the survey belongs
 * to a dead process, to a former writer, or to this writer, which knows its own uploads.
 *
 * @returns the number of aborted uploads. If the store does not permit aborting, the bucket needs a
 *   rule for it.
 */
export async function removeUnfinished(
  store: ObjectStore,
  { nowMs }: Survey,
  { graceMs }: Periods,
  isUnderWay: (frameId: string) => boolean,
): Promise<number> {
  const isAbandoned = (key: string, begunAt: Date): boolean =>
    nowMs - begunAt.getTime() > graceMs + clockSlackMs && !isUnderWay(frameIdOf(key))
  return (await store.removeUnfinished?.(dataPrefix, isAbandoned).catch(() => 0)) ?? 0
}

/** Keys of manifests that are not commits. */
export async function manifestsBelow(store: ObjectStore, oldest: number): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list(manifestPrefix)) {
    const version = versionOf(key)
    if (version !== undefined && version < oldest) keys.push(key)
  }
  return keys
}

/**
 * Number of deletes in parallel: enough to hide the latency of the network, and few for any store.
 */
const width = 16

/** @returns the keys of objects that were not removed, or may not have been. */
export async function removeAll(store: ObjectStore, keys: Iterable<string>): Promise<Set<string>> {
  const failed = new Set<string>()
  const next = keys[Symbol.iterator]()
  const remove = async (): Promise<void> => {
    for (let item = next.next(); item.done !== true; item = next.next()) {
      const key = item.value
      await store.delete(key).catch(() => failed.add(key))
    }
  }
  await Promise.all(Array.from({ length: width }, remove))
  return failed
}
