/**
 * The encoding of the data in a page: lists instead of objects, each text stored once, and the
 * cells of the heat map as letters. A thousand frames take about 200 kB. Written by encode.ts and
 * read by the page's own script.
 */

/** Stands for an absent value in lists of indexes. */
export const none = -1
/** Stands for a parent that is not among the frames of the page. */
export const elsewhere = -2

/** Lists by frame, from the oldest to the newest. All text is printable. */
export interface PageData {
  place: string
  kind: 'archive' | 'directory' | 'chain'
  number: number[]
  /** '' if the name follows from the number: see {@link nameOf}. */
  name: string[]
  id: string[]
  /** Index of the frame that it builds on, or {@link none} or {@link elsewhere}. */
  parent: number[]
  /** 1 or 0, like all booleans here. */
  isDelta: number[]
  /** Milliseconds since the preceding frame; for the first frame, since 1970. */
  sinceBefore: number[]
  byteLength: (number | null)[]
  changedBytes: (number | null)[]
  fileSize: number[]
  pauseMs: (number | null)[]
  durationMs: (number | null)[]
  /** Index in `texts`. */
  engine: number[]
  hasState: number[]
  /** Indexes in `texts`. */
  keptBecause: number[][]
  /** By index of the frame. */
  damage: Record<string, string>
  /** Index in `sectionSets`. */
  sections: number[]
  /**
   * For each section, the index of its name in `texts` and its bytes; then the number of further
   * sections.
   */
  sectionSets: { sections: [name: number, byteLength: number][]; more: number }[]
  texts: string[]
  heat: PageHeatSection[]
}

/** Name of a frame that has only a number. */
export function nameOf(number: number): string {
  return `frame ${number}`
}

/** One section of the heat map. */
export interface PageHeatSection {
  name: string
  byteLength: number
  pieceBytes: number
  pieces: number
  /** For each frame its {@link encodeLevels levels}; '' if it was not compared. */
  columns: string[]
}

/** Level of a piece that changed completely; 0 is the level of an unchanged piece. */
export const topLevel = 31

/**
 * The level of a share from 0 to 1. Levels are finer for small shares, since most services write a
 * few scattered pages. A single changed page is never rounded to level 0, nor a single unchanged
 * one to the top level.
 */
export function levelOf(share: number): number {
  if (share <= 0) return 0
  if (share >= 1) return topLevel
  return Math.min(Math.max(1, Math.round(topLevel * Math.cbrt(share))), topLevel - 1)
}

/** The share in the middle of a level. */
export function shareOf(level: number): number {
  return (level / topLevel) ** 3
}

/**
 * Encodes each level as one digit in base 32. A run of five or more is its digit and its length, as
 * in `0(2s)`.
 */
export function encodeLevels(levels: readonly number[]): string {
  const digits = levels.map((level) => level.toString(32)).join('')
  return digits.replace(/(.)\1{4,}/g, (run, digit: string) => `${digit}(${run.length.toString(36)})`)
}

/** Reverses {@link encodeLevels}. */
export function decodeLevels(text: string): number[] {
  const levels: number[] = []
  for (const [, digit = '0', length = '1'] of text.matchAll(/(\w)(?:\((\w+)\))?/g)) {
    const level = Number.parseInt(digit, 32)
    for (let left = Number.parseInt(length, 36); left > 0; left--) levels.push(level)
  }
  return levels
}
