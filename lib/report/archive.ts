/** Reports an archive in a directory. */

import { openArchive } from '../archive/archive.js'
import { type FrameTable, isKnown, type KnownEntry } from '../archive/frame-table.js'
import { readTable } from '../archive/listing.js'
import { diskBytesOf } from '../archive/manifest.js'
import { pathOf } from '../archive/names.js'
import type { Retention } from '../archive/options.js'
import type { ReportData, ReportFrame } from './data.js'
import { type Candidate, examine, leftOut, type ReportOptions } from './examine.js'

/** Options of a report of an archive. */
export interface ArchiveReportOptions extends Omit<ReportOptions, 'parents'> {
  /** The retention rules used to explain why each frame is kept. */
  retention?: Retention | undefined
}

/** Reason shown for a frame that is no longer listed but still needed to read younger ones. */
const neededByOthers = 'pruned, but needed by younger frames'

/**
 * Reports the frames of an archive, including those that were given up but are still needed to read
 * others. Does not disturb a writer.
 *
 * Rejects with StillframeError `NOT_FOUND`, `FORMAT` or `VERSION` if there is no archive.
 */
export async function reportArchive(directory: string, options: ArchiveReportOptions): Promise<ReportData> {
  const { retention, signal, onProgress } = options
  await using archive = await openArchive(directory, {
    readOnly: true,
    ...(retention !== undefined && { retention }),
  })
  const damage = new Map<number, string>()
  if (options.verify) {
    // archive.verify() reads a file only once, however many frames build on it.
    const { frames } = await archive.verify({
      signal,
      onProgress: ({ framesDone, framesTotal }) => onProgress?.('checking', framesDone, framesTotal),
    })
    for (const { number, problems } of frames) {
      if (problems[0] !== undefined) damage.set(number, problems[0].reason)
    }
  }
  const reasons = new Map<number, readonly string[]>()
  // Without rules there are no reasons to show.
  if (retention !== undefined)
    for await (const { number, keptBecause } of archive.frames()) reasons.set(number, keptBecause)
  const table = await readTable(directory)
  const needed = table.needed()
  const all = table.all().filter(({ number }) => needed.has(number))
  const older = Math.max(0, all.length - options.last)
  let before = new Date(0)
  const candidates = all.slice(older).map((entry): Candidate => {
    const path = pathOf(directory, entry.number, 'memory')
    const known = damage.get(entry.number) ?? entry.damage
    const candidate: Candidate = isKnown(entry)
      ? {
          path,
          parents: [...parentsOf(directory, table, entry), directory],
          frame: toFrame(entry, reasons.get(entry.number) ?? [], known),
        }
      : { path, parents: [], frame: unknownFrame(entry.number, before, known ?? 'nothing is known about it') }
    before = candidate.frame.frozenAt
    return { ...candidate, isThere: async () => (await readTable(directory)).get(entry.number) !== undefined }
  })
  const { remarks, ...examined } = await examine(candidates, { ...options, verify: false })
  return {
    place: directory,
    kind: 'archive',
    madeAt: new Date(),
    ...examined,
    checked: options.verify ? 'verified' : 'opened',
    remarks: [...leftOut(older, all.length), ...remarks],
  }
}

function parentsOf(directory: string, table: FrameTable, entry: KnownEntry): string[] {
  const [, ...parents] = table.chainOf(entry).entries
  return parents.map(({ number }) => pathOf(directory, number, 'memory'))
}

function toFrame(
  { number, manifest }: KnownEntry,
  keptBecause: readonly string[],
  damage: string | undefined,
): ReportFrame {
  const { id, parentId, frozenAtMs, byteLength, changedBytes, state } = manifest
  const { engine, pauseMs, durationMs, sections, retiredAtMs } = manifest
  // The header of the memory file does not contain these.
  const measured = engine === 'none' ? {} : { changedBytes, pauseMs, durationMs, engine }
  return {
    number,
    name: `frame ${number}`,
    id,
    ...(parentId !== undefined && { parentId }),
    frozenAt: new Date(frozenAtMs),
    kind: parentId === undefined ? 'full' : 'delta',
    byteLength,
    ...measured,
    fileSize: diskBytesOf(manifest),
    hasState: state !== undefined,
    keptBecause: retiredAtMs === undefined ? keptBecause : [neededByOthers],
    ...(damage !== undefined && { damage }),
    sections,
  }
}

/**
 * A frame about which nothing is known. It gets the time of the preceding frame, since times ascend
 * with numbers.
 */
function unknownFrame(number: number, frozenAt: Date, damage: string): ReportFrame {
  return {
    number,
    name: `frame ${number}`,
    frozenAt,
    kind: 'full',
    fileSize: 0,
    hasState: false,
    keptBecause: [],
    damage,
    sections: [],
  }
}
