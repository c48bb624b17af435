/**
 * What of a directory is to be copied into a store next, and what the store is to hold then: functions of what is here and
 * there, and of nothing else.
 */

import { isDeepStrictEqual } from 'node:util'
import { FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { diskBytesOf, type Manifest } from './manifest.js'
import type { FrameObjects, RemoteFrame } from './remote/index.js'
import { keptFrames, type RetentionRules } from './retention.js'
import type { Protection } from './set-pins.js'

/** The frames of a store, by number and by id. */
export function tableOf(frames: readonly RemoteFrame[]): FrameTable {
  return new FrameTable(frames.map((manifest) => ({ number: manifest.number, manifest })))
}

/** The objects that a frame in a store is made of. */
export function objectsOf({ manifest }: KnownEntry): FrameObjects {
  return (manifest as RemoteFrame).objects
}

/** The frames that are here and not there, in order of number. What the store has given up does not come back. */
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
 * The newest frame that is full here, while there it still is read from several files: copied again, it ends the chain of
 * those that come after it.
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

/** A frame and those that it builds on, as far as the store lacks them; from the full one on. */
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

/** A frame that has been uploaded. */
export interface Uploaded {
  readonly manifest: Manifest
  readonly objects: FrameObjects
}

/**
 * The frames that a store holds with those that were uploaded: the last one, and before it what it needs, which is not
 * listed. One that is there already gets the objects that were uploaded now.
 */
export function withUploaded(
  there: readonly RemoteFrame[],
  uploaded: readonly Uploaded[],
): readonly RemoteFrame[] {
  const byId = new Map(there.map((frame) => [frame.id, frame]))
  // A commit of which it was not known whether it had been made.
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
 * The numbers that they have here, if that can be: nobody else has them there, and the last one is the highest of all. An archive that
 * was begun anew in an empty directory, with the same store, goes on behind what the store has.
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
 * Without the frames that no rule keeps. Those that others build on stay, and are not listed.
 *
 * @returns the same array if nothing is given up.
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

/** How far a store is behind. */
export interface StoreLag {
  /** Frames that are complete here and not there. */
  frames: number
  /** What their files take on the disk, in bytes. */
  bytes: number
  /** The instant of the newest frame that is there; absent: none is. */
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
