/**
 * The form in which a page carries its data: lists instead of objects, each text once, and the cells
 * of the heat map as letters. A thousand frames take some 200 kB that way. Written by encode.ts and
 * read by the page's own script.
 */

/** No such thing, in lists of indexes. */
export const none = -1
/** The parent is not among the frames of the page. */
export const elsewhere = -2

/** Lists by frame, from the oldest to the newest. Text has been made printable. */
export interface PageData {
  place: string
  kind: 'archive' | 'directory' | 'chain'
  number: number[]
  /** '' where it is the number's: see {@link nameOf}. */
  name: string[]
  id: string[]
  /** Index of the frame that it builds on. */
  parent: number[]
  /** 1 or 0, as all that is yes or no. */
  isDelta: number[]
  /** Milliseconds since the frame before; of the first one since 1970. */
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
  /** For each section the index of its name in `texts`, and its bytes; then how many more there are. */
  sectionSets: { sections: [name: number, byteLength: number][]; more: number }[]
  texts: string[]
  heat: PageHeatSection[]
}

/** What frames are called that have no name but their number. */
export function nameOf(number: number): string {
  return `frame ${number}`
}

/** One section of the heat map. */
export interface PageHeatSection {
  name: string
  byteLength: number
  pieceBytes: number
  pieces: number
  /** For each frame its {@link encodeLevels levels}; '' where it was not compared. */
  columns: string[]
}

/** The level of a piece that changed as a whole; 0 is for one that did not change at all. */
export const topLevel = 31

/**
 * The level of a share from 0 to 1. Levels are narrow where shares are small: a page here and there
 * is what most services write. Neither a single page is rounded to nothing nor all but one to all.
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

/** One digit (base 32) a level; a run of five or more is its digit and how many, as `0(2s)`. */
export function encodeLevels(levels: readonly number[]): string {
  const digits = levels.map((level) => level.toString(32)).join('')
  return digits.replace(/(.)\1{4,}/g, (run, digit: string) => `${digit}(${run.length.toString(36)})`)
}

/** What {@link encodeLevels} was given. */
export function decodeLevels(text: string): number[] {
  const levels: number[] = []
  for (const [, digit = '0', length = '1'] of text.matchAll(/(\w)(?:\((\w+)\))?/g)) {
    const level = Number.parseInt(digit, 32)
    for (let left = Number.parseInt(length, 36); left > 0; left--) levels.push(level)
  }
  return levels
}
