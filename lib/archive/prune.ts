/**
 * Pruning in two steps, each of which leaves a consistent archive:
 *
 *   1. Retire: the manifest records that the frame was retired. From then on it is not listed.
 *   2. Remove: once no listed frame builds on it, its files are removed: the memory and the objects
 *      first, the manifest last.
 *
 * If the writer dies in between, retired frames stay behind; the next writer continues with step 2.
 */

import { stat } from 'node:fs/promises'
import { removeFile, replaceFile, syncDirectory } from '../files/durable-file.js'
import { type Entry, type FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { listDirectory } from './listing.js'
import { lockForRemoval } from './lock.js'
import { diskBytesOf, encodeManifest } from './manifest.js'
import { pathOf } from './names.js'
import { keptFrames, type RetentionRules } from './retention.js'

/** What `prune()` did, or would do in a dry run. */
export interface Pruned {
  readonly kept: readonly { readonly entry: KnownEntry; readonly because: readonly string[] }[]
  readonly givenUp: readonly KnownEntry[]
  /** Disk space in bytes. */
  readonly freedBytes: number
}

/** Decision about the listed frames. */
export interface Judgement {
  readonly kept: readonly Entry[]
  readonly givenUp: readonly Entry[]
  /** For the frames that are kept, by number. */
  readonly reasons: Map<number, string[]>
}

export async function judgeFrames(
  directory: string,
  table: FrameTable,
  rules: RetentionRules | undefined,
  distrusted: ReadonlySet<number> = new Set(),
): Promise<Judgement> {
  const { memories } = await listDirectory(directory)
  let before = 0
  // No await from here on: a frame that is published meanwhile is not judged.
  const listed = table.listed()
  const frames = listed.map((entry) => {
    // A frame whose time is unknown is not older than those before it.
    before = entry.manifest?.frozenAtMs ?? before
    return { number: entry.number, frozenAtMs: before, whole: isWhole(entry, table, memories, distrusted) }
  })
  const reasons = keptFrames(frames, rules)
  return {
    kept: listed.filter(({ number }) => reasons.has(number)),
    givenUp: listed.filter(({ number }) => !reasons.has(number)),
    reasons,
  }
}

/** True if nothing is known that would prevent restoring the frame. Reads no file. */
function isWhole(
  entry: Entry,
  table: FrameTable,
  memories: ReadonlySet<number>,
  distrusted: ReadonlySet<number>,
): boolean {
  if (entry.damage !== undefined || !isKnown(entry)) return false
  const { entries, missing } = table.chainOf(entry)
  if (missing !== undefined) return false
  return entries.every(({ number }) => memories.has(number) && !distrusted.has(number))
}

export function prunedOf(
  kept: readonly Entry[],
  givenUp: readonly Entry[],
  reasons: ReadonlyMap<number, string[]>,
  freedBytes: number,
): Pruned {
  return {
    kept: kept.filter(isKnown).map((entry) => ({ entry, because: reasons.get(entry.number) ?? [] })),
    givenUp: givenUp.filter(isKnown),
    freedBytes,
  }
}

/** Predicts what pruning would do. Changes nothing and needs no lock. */
export async function foreseePrune(
  directory: string,
  table: FrameTable,
  rules: RetentionRules | undefined,
  distrusted?: ReadonlySet<number>,
): Promise<Pruned> {
  const judgement = await judgeFrames(directory, table, rules, distrusted)
  const { kept, givenUp, reasons } = judgement
  return prunedOf(kept, givenUp, reasons, bytesToFree(table, judgement))
}

/** Step 1. @returns the frames that are in use, which stay. */
export async function retireFrames(
  directory: string,
  table: FrameTable,
  entries: readonly Entry[],
): Promise<Entry[]> {
  const inUse: Entry[] = []
  let retired = 0
  for (const entry of entries) {
    const lock = await lockForRemoval(pathOf(directory, entry.number, 'memory'))
    if (lock === 'held by another') {
      inUse.push(entry)
      continue
    }
    try {
      if (!isKnown(entry)) continue
      const manifest = { ...entry.manifest, retiredAtMs: Date.now() }
      await replaceFile(pathOf(directory, entry.number, 'manifest'), encodeManifest(manifest))
      table.put({ number: entry.number, manifest })
      retired++
    } finally {
      if (lock !== 'not there') await lock.close()
    }
  }
  // No file may be removed while the manifest on disk still lists the frame.
  if (retired > 0) await syncDirectory(directory)
  return inUse
}

/** Step 2, for all frames that can go. @returns the disk space freed, in bytes. */
export async function removeRetired(directory: string, table: FrameTable): Promise<number> {
  const needed = table.needed()
  let freed = 0
  for (const entry of table.retired()) {
    if (!needed.has(entry.number)) freed += await removeFrame(directory, table, entry)
  }
  return freed
}

/**
 * Removes damaged frames about which nothing else is known. While the parent of some frame is
 * missing, they stay, since one of them may be that parent.
 */
export async function removeUnknown(
  directory: string,
  table: FrameTable,
  entries: readonly Entry[],
): Promise<number> {
  const isMissed = table.all().some((entry) => isKnown(entry) && table.chainOf(entry).missing !== undefined)
  let freed = 0
  for (const entry of entries)
    if (!isKnown(entry) && !isMissed) freed += await removeFrame(directory, table, entry)
  return freed
}

/** @returns the disk space freed, in bytes; 0 if the file is being read. */
async function removeFrame(directory: string, table: FrameTable, entry: Entry): Promise<number> {
  const lock = await lockForRemoval(pathOf(directory, entry.number, 'memory'))
  if (lock === 'held by another') return 0
  let freed = 0
  try {
    for (const part of ['memory', 'state'] as const) {
      const path = pathOf(directory, entry.number, part)
      const bytes = await allocatedBytes(path)
      await removeFile(path)
      freed += bytes
    }
    await removeFile(pathOf(directory, entry.number, 'manifest'))
    table.remove(entry)
    return freed
  } finally {
    if (lock !== 'not there') await lock.close()
  }
}

/**
 * Disk space that pruning these frames would free at once. Files on which other frames build stay.
 */
function bytesToFree(table: FrameTable, { kept, givenUp }: Judgement): number {
  const needed = new Set(
    kept.filter(isKnown).flatMap((entry) => table.chainOf(entry).entries.map(({ number }) => number)),
  )
  return givenUp
    .filter(isKnown)
    .filter(({ number }) => !needed.has(number))
    .reduce((sum, { manifest }) => sum + diskBytesOf(manifest), 0)
}

async function allocatedBytes(path: string): Promise<number> {
  return await stat(path).then(
    ({ blocks }) => blocks * 512,
    () => 0,
  )
}
