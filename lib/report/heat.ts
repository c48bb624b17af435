/**
 * Finds where the memory changed between successive frames, by comparing the sums of their pages.
 */

import { compareFrames, type SectionDifference } from '../restore/compare.js'
import type { HeatSection } from './data.js'

/** Page size of the file format, regardless of the machine's page size. */
const pageBytes = 4096
/** Maximum cells of the whole map: about 80 kB even if no two cells are alike. */
const mostCells = 80_000
/** Maximum pieces of one section: about one per two pixels of a readable map. */
const mostPieces = 128
/** With fewer pieces, a map would show nothing. */
const fewestPieces = 8
/** Maximum number of maps that a person will look at. */
const mostSections = 8

/** One frame, in order of time. */
export interface HeatFrame {
  path: string
  /**
   * The files that it builds on, as far as known, and directories in which to search for others.
   */
  parents: readonly string[]
}

/** Options of {@link measureHeat}. */
export interface HeatOptions {
  signal?: AbortSignal | undefined
  /** Counts comparisons. */
  onProgress?: ((done: number, total: number) => void) | undefined
}

/** Result of {@link measureHeat}. */
export interface Heat {
  sections: HeatSection[]
  /** Number of changed sections that are not drawn. */
  sectionsLeftOut: number
  /** Number of sections that never changed. */
  sectionsUnchanged: number
  /** By index of the frame: number of bytes that differ from the preceding frame. */
  changedBytes: Map<number, number>
  /** By index of the frame: the reason why it could not be compared. */
  failures: Map<number, Error>
}

/**
 * Compares each frame with the last readable one before it; unreadable frames are passed as
 * undefined. Reads no pages, only the sums of both frames' pages, 1/256 of their memory.
 *
 * Rejects only with the signal's reason.
 */
export async function measureHeat(
  frames: readonly (HeatFrame | undefined)[],
  { signal, onProgress }: HeatOptions = {},
): Promise<Heat> {
  const readable = frames.flatMap((frame, index) => (frame === undefined ? [] : [{ ...frame, index }]))
  const piecesPerFrame = Math.max(8, Math.floor(mostCells / Math.max(1, frames.length)))
  const differences = new Map<number, SectionDifference[]>()
  const changedBytes = new Map<number, number>()
  const failures = new Map<number, Error>()
  const compare = (from: HeatFrame, to: HeatFrame): Promise<SectionDifference[]> => {
    const parents = [...new Set([...to.parents, ...from.parents, from.path])]
    return compareFrames(from.path, to.path, { pieces: mostPieces, signal, parents })
  }
  let before: (HeatFrame & { index: number }) | undefined
  for (const [done, frame] of readable.entries()) {
    try {
      const found = await compare(before ?? frame, frame)
      if (before !== undefined) {
        differences.set(frame.index, found)
        changedBytes.set(frame.index, pageBytes * sum(found.map(({ changedPages }) => changedPages)))
      }
      before = frame
    } catch (error) {
      signal?.throwIfAborted()
      failures.set(frame.index, error as Error)
    }
    onProgress?.(done + 1, readable.length)
  }
  const all = sectionsOf(differences)
  const changed = all.filter(({ changedPages }) => changedPages > 0)
  // A place where nothing changes gets one empty map, to show that nothing changed.
  const drawn = (changed.length > 0 ? changed : all.slice(0, 1)).slice(
    0,
    Math.min(mostSections, Math.floor(piecesPerFrame / fewestPieces)),
  )
  const weight = sum(drawn.map(({ byteLength }) => Math.sqrt(byteLength)))
  return {
    sections: drawn.map((section) => {
      // Larger sections get more pieces, but small ones get at least a minimum.
      const fair = Math.floor((piecesPerFrame * Math.sqrt(section.byteLength)) / weight)
      return toHeat(section, differences, frames.length, Math.min(Math.max(fair, fewestPieces), mostPieces))
    }),
    sectionsLeftOut: Math.max(0, changed.length - drawn.length),
    sectionsUnchanged: all.length - changed.length,
    changedBytes,
    failures,
  }
}

interface MeasuredSection {
  name: string
  byteLength: number
  changedPages: number
}

/** All sections that have memory, those with the most changes first. */
function sectionsOf(differences: ReadonlyMap<number, readonly SectionDifference[]>): MeasuredSection[] {
  const sections = new Map<string, MeasuredSection>()
  for (const { name, fromBytes = 0, toBytes = 0, changedPages } of [...differences.values()].flat()) {
    const known = sections.get(name) ?? { name, byteLength: 0, changedPages: 0 }
    const byteLength = Math.max(known.byteLength, fromBytes, toBytes)
    sections.set(name, { name, byteLength, changedPages: known.changedPages + changedPages })
  }
  return [...sections.values()]
    .filter(({ byteLength }) => byteLength > 0)
    .sort((a, b) => b.changedPages - a.changedPages || b.byteLength - a.byteLength)
}

function toHeat(
  { name, byteLength }: MeasuredSection,
  differences: ReadonlyMap<number, readonly SectionDifference[]>,
  frameCount: number,
  pieces: number,
): HeatSection {
  const pages = Math.ceil(byteLength / pageBytes)
  const pagesPerPiece = Math.ceil(pages / pieces)
  const columns = Array.from({ length: frameCount }, (_, frame) => {
    const found = differences.get(frame)
    if (found === undefined) return undefined
    const section = found.find((candidate) => candidate.name === name)
    return section === undefined ? [] : shares(section, pagesPerPiece, pages)
  })
  return { name, byteLength, pieceBytes: pagesPerPiece * pageBytes, columns }
}

/**
 * Converts the changed pages of one comparison to shares of the pieces of the map. A section that
 * has grown was compared in smaller pieces when it was small.
 */
export function shares(
  { pagesPerPiece: from, pieces }: Pick<SectionDifference, 'pagesPerPiece' | 'pieces'>,
  pagesPerPiece: number,
  pages: number,
): number[] {
  const changed = new Array<number>(Math.ceil(pages / pagesPerPiece)).fill(0)
  for (const [index, count] of pieces.entries()) {
    if (count === 0) continue
    const first = index * from
    const end = Math.min(first + from, pages)
    for (let page = first; page < end; ) {
      const piece = Math.floor(page / pagesPerPiece)
      const next = Math.min(end, (piece + 1) * pagesPerPiece)
      changed[piece] = (changed[piece] ?? 0) + (count * (next - page)) / (end - first)
      page = next
    }
  }
  return changed.map((count, piece) =>
    Math.min(1, count / Math.min(pagesPerPiece, pages - piece * pagesPerPiece)),
  )
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((so, number) => so + number, 0)
}
