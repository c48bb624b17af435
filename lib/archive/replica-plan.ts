/**
 * Decides what to copy from a directory to a store next, and what the store should contain
 * afterwards. These are pure functions of the contents of both.
 */

import { isDeepStrictEqual } from 'node:util'
import { FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { diskBytesOf, type Manifest } from './manifest.js'
import type { FrameObjects, RemoteFrame } from './remote/index.js'
import { keptFrames, type RetentionRules } from './retention.js'
import type { Protection } from './set-pins.js'

/** The frames of a store as a table. */
export function tableOf(frames: readonly RemoteFrame[]): FrameTable {
  return new FrameTable(frames.map((manifest) => ({ number: manifest.number, manifest })))
}

/** The store objects of a frame. */
export function objectsOf({ manifest }: KnownEntry): FrameObjects {
  return (manifest as RemoteFrame).objects
}

/**
 * The frames that are in the directory and not in the store, in order of number. Frames that the
 * store has pruned are not copied again.
 */
export function framesToCopy(here: FrameTable, there: readonly RemoteFrame[]): KnownEntry[] {
  const ids = new Set(there.map(({ id }) => id))
  const known = here.all().filter(isKnown)
  const copiedTo = Math.max(
    0,
    ...known.filter(({ manifest }) => ids.has(manifest.id)).map(({ number }) => number),
  )
  return here
    .listed()
    .filter(isKnown)
    .filter(
      ({ number, damage, manifest }) => number > copiedTo && damage === undefined && !ids.has(manifest.id),
    )
}

/**
 * The newest frame that is full in the directory while its copy is still a delta. Copying it again
 * ends the chain of later frames in the store.
 */
export function frameToReplace(here: FrameTable, there: readonly RemoteFrame[]): KnownEntry | undefined {
  const known = new Map(there.map((frame) => [frame.id, frame]))
  return here
    .listed()
    .filter(isKnown)
    .findLast(({ manifest, damage }) => {
      const copy = known.get(manifest.id)
      const isFullOnlyHere = manifest.parentId === undefined && copy?.parentId !== undefined
      return isFullOnlyHere && damage === undefined && copy?.retiredAtMs === undefined
    })
}

/** A frame and those of its parents that the store lacks, starting with the oldest. */
export function chainToCopy(
  here: FrameTable,
  entry: KnownEntry,
  there: readonly RemoteFrame[],
): KnownEntry[] {
  const ids = new Set(there.map(({ id }) => id))
  return here
    .chainOf(entry)
    .entries.filter((one) => one === entry || !ids.has(one.manifest.id))
    .toReversed()
}

export interface Uploaded {
  readonly manifest: Manifest
  readonly objects: FrameObjects
}

/**
 * The frames of a store after an upload. The last uploaded frame is listed; the others are its
 * parents, and are not listed. A frame that the store has already gets the newly uploaded objects.
 */
export function withUploaded(
  there: readonly RemoteFrame[],
  uploaded: readonly Uploaded[],
): readonly RemoteFrame[] {
  const byId = new Map(there.map((frame) => [frame.id, frame]))
  // An earlier commit with unknown outcome did succeed.
  if (uploaded.every(({ manifest, objects }) => isDeepStrictEqual(byId.get(manifest.id)?.objects, objects)))
    return there
  const added = uploaded.filter(({ manifest }) => !byId.has(manifest.id))
  const numbers = numbersFor(there, added)
  const last = uploaded.at(-1)
  for (const [index, { manifest, objects }] of added.entries()) {
    const isLast = manifest.id === last?.manifest.id
    const retired = isLast ? {} : { retiredAtMs: manifest.retiredAtMs ?? Date.now() }
    byId.set(
      manifest.id,
      withParentNumber({ ...manifest, ...retired, number: numbers[index] as number, objects }, byId),
    )
  }
  if (last !== undefined && !added.includes(last)) {
    const { number } = byId.get(last.manifest.id) as RemoteFrame
    byId.set(last.manifest.id, withParentNumber({ ...last.manifest, number, objects: last.objects }, byId))
  }
  return [...byId.values()].sort((a, b) => a.number - b.number)
}

/**
 * Keeps the numbers that the frames have in the directory if none is taken in the store and the
 * last one is higher than all there. Otherwise, as when the directory was created anew for the same
 * store, numbering continues after the frames of the store.
 */
function numbersFor(there: readonly RemoteFrame[], added: readonly Uploaded[]): number[] {
  const taken = new Set(there.map(({ number }) => number))
  const highest = Math.max(0, ...taken)
  const own = added.map(({ manifest }) => manifest.number)
  const fits = own.every((number) => !taken.has(number)) && (own.at(-1) ?? 0) > highest
  return fits ? own : added.map((_, index) => highest + 1 + index)
}

function withParentNumber(frame: RemoteFrame, byId: ReadonlyMap<string, RemoteFrame>): RemoteFrame {
  const { parentNumber: _, ...rest } = frame
  const parent = frame.parentId === undefined ? undefined : byId.get(frame.parentId)
  return parent === undefined ? rest : { ...rest, parentNumber: parent.number }
}

/** Why each listed frame of a store is kept, by number. */
export function reasonsThere(
  table: FrameTable,
  rules: RetentionRules | undefined,
  protection: Protection,
): Map<number, string[]> {
  const listed = table.listed().filter(isKnown)
  const reasons = keptFrames(
    listed.map((entry) => ({
      number: entry.number,
      frozenAtMs: entry.manifest.frozenAtMs,
      whole: table.chainOf(entry).missing === undefined,
    })),
    rules,
  )
  for (const { number, manifest } of listed) {
    const because = protection(manifest as RemoteFrame)
    if (because !== undefined) reasons.set(number, [...(reasons.get(number) ?? []), because])
  }
  return reasons
}

/**
 * Retires the frames that no rule keeps. Retired frames stay, unlisted, while others build on them.
 *
 * @returns the same array if nothing changes.
 */
export function withoutGivenUp(
  there: readonly RemoteFrame[],
  rules: RetentionRules | undefined,
  protection: Protection,
): readonly RemoteFrame[] {
  const kept = reasonsThere(tableOf(there), rules, protection)
  const judged = there.map((frame) => {
    return frame.retiredAtMs !== undefined || kept.has(frame.number)
      ? frame
      : { ...frame, retiredAtMs: Date.now() }
  })
  const needed = tableOf(judged).needed()
  const left = judged.filter(({ number }) => needed.has(number))
  const isSame = left.length === there.length && left.every((frame, index) => frame === there[index])
  return isSame ? there : left
}

/** How far a store is behind the directory. */
export interface StoreLag {
  /** Number of complete frames that are not in the store yet. */
  frames: number
  /** Disk space that the files of these frames occupy, in bytes. */
  bytes: number
  /** `frozenAt` of the newest frame in the store; absent if there is none. */
  copiedAt?: Date
}

export function lagOf(here: FrameTable, there: readonly RemoteFrame[]): StoreLag {
  const missing = framesToCopy(here, there)
  const newest = Math.max(
    ...there.filter(({ retiredAtMs }) => retiredAtMs === undefined).map(({ frozenAtMs }) => frozenAtMs),
  )
  return {
    frames: missing.length,
    bytes: missing.reduce((sum, { manifest }) => sum + diskBytesOf(manifest), 0),
    ...(Number.isFinite(newest) && { copiedAt: new Date(newest) }),
  }
}
