/**
 * What a report shows, as plain data: nothing of it refers to a file or an archive, so that the page
 * can be made of anything, and tested with anything. All text in it may come from a hostile file.
 */

/** Frames of one place, from the oldest to the newest. */
export interface ReportData {
  /** What the report is about, as the user named it. */
  place: string
  kind: 'archive' | 'directory' | 'chain'
  madeAt: Date
  frames: readonly ReportFrame[]
  /** Which part of the memory changed when. */
  heat: ReportHeat
  /** How far damage was looked for. `'listed'`: not in the files; `'opened'`: all but the pages; `'verified'`: every byte. */
  checked: 'listed' | 'opened' | 'verified'
  /** What was left out, and why; each a sentence. */
  remarks: readonly string[]
}

/** One frame. Sizes are in bytes; what is not known is absent. */
export interface ReportFrame {
  /** Ascending, though not without gaps. */
  number: number
  /** What it is called. */
  name: string
  id?: string
  /** Of the frame that it builds on, which need not be in the report. */
  parentId?: string
  frozenAt: Date
  kind: 'full' | 'delta'
  byteLength?: number
  /** In the frame, and not as in its parent. */
  changedBytes?: number
  /** On the disk. */
  fileSize: number
  pauseMs?: number
  durationMs?: number
  engine?: string
  hasState: boolean
  /** The rules of retention that keep it; none are known: []. */
  keptBecause: readonly string[]
  /** Why it cannot be read. */
  damage?: string
  sections: readonly { name: string; byteLength: number }[]
}

/** Where the memory changed between each frame and the one before it. */
export interface ReportHeat {
  /** Those that are drawn, the ones with most changes first. */
  sections: readonly HeatSection[]
}

/** One section over all frames, in pieces of equal length, but for the last one. */
export interface HeatSection {
  name: string
  /** The greatest that it had. */
  byteLength: number
  pieceBytes: number
  /**
   * For each frame of the report the share of each piece that is not as in the frame before, 0 to 1;
   * undefined where the two were not compared.
   */
  columns: readonly (readonly number[] | undefined)[]
}
