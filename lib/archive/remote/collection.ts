/**
 * Removing what nobody needs any more. What it removes is not needed, whatever else happens meanwhile and however late a request
 * arrives:
 *
 * - **Garbage**, which frames needed that were given up. It never comes back. Whoever reads an older version has a lease, and
 *   lists may lag: so the boundary has been above those versions for a while before leases are listed, and nobody can
 *   have taken one of them since.
 * - **Orphans**, which no manifest names, and which are older than the grace. They are left of uploads that failed. A later
 *   writer may go on with such an upload, but not with parts of that age, and this one looks whether there is a later writer
 *   after it has listed the orphans.
 * - Uploads that were never finished, of that age, in stores that keep what came of them.
 * - Manifests below the boundary, leases that are dead, and old probes.
 */

import type { ListedObject, ObjectStore } from '../../store/store.js'
import { readBoundary } from './boundary.js'
import { type FoundLease, readLeases } from './lease.js'
import { dataPrefix, frameIdOf, manifestPrefix, probePrefix, versionOf } from './names.js'
import type { Read } from './reading.js'
import { type Garbage, keysOf, type RemoteState } from './remote-state.js'
import { clockSlackMs } from './store-clock.js'

/** What there is, as of a time. */
export interface Survey {
  /** By the clock of the store, before everything else was looked at. */
  readonly nowMs: number
  readonly boundary: Read<number> | undefined
  /** Whether every lease that was taken below the boundary is in {@link leases}. */
  readonly isSettled: boolean
  readonly leases: readonly FoundLease[]
  /** Objects below `data/` that are older than the grace. */
  readonly oldData: readonly ListedObject[]
  /** Probes of processes that are gone. */
  readonly oldProbes: readonly string[]
}

export interface Periods {
  readonly graceMs: number
  /** How far a list may lag at most. */
  readonly settleMs: number
}

/** An hour: a process that is opening the archive, however slowly, would take it for a store that loses objects. */
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

/** Garbage that was given up longer ago than the grace: who cannot put a lease, since it may only read, has that long. */
function oldGarbage({ garbage }: RemoteState, { nowMs }: Survey, { graceMs }: Periods): Garbage[] {
  return garbage.filter(({ sinceMs }) => sinceMs !== undefined && nowMs - sinceMs > graceMs + clockSlackMs)
}

/** What may go of {@link RemoteState.garbage}. */
export function removableGarbage(state: RemoteState, survey: Survey, periods: Periods): Garbage[] {
  const { boundary, isSettled, leases } = survey
  if (boundary === undefined || !isSettled) return []
  return oldGarbage(state, survey, periods).filter(({ version }) => {
    return version <= boundary.value && !leases.some((lease) => lease.isAlive && lease.version < version)
  })
}

/** Whether there is old garbage that only goes when there is another version, since the last two are always kept. */
export function hasLastGarbage(state: RemoteState, survey: Survey, periods: Periods): boolean {
  return oldGarbage(state, survey, periods).some(({ version }) => version >= state.version)
}

/**
 * @param state - in force, at some moment after the survey.
 * @param isUnderWay - whether this writer is uploading objects of the frame, or has yet to commit it.
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
 * Of an upload that began before the survey by more than the grace, either its process is dead, or it is no longer the writer, or it is
 * this one, which knows what it is uploading.
 *
 * @returns how many uploads were taken back. The store may not let us: then the rules of the bucket have to.
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

/** Keys of manifests that are no commits. */
export async function manifestsBelow(store: ObjectStore, oldest: number): Promise<string[]> {
  const keys: string[] = []
  for await (const { key } of store.list(manifestPrefix)) {
    const version = versionOf(key)
    if (version !== undefined && version < oldest) keys.push(key)
  }
  return keys
}

/** How many deletes are under way at a time: enough to hide the network, and few for any store. */
const width = 16

/** @returns the keys of objects that could not be removed, or of which it is not known. */
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
