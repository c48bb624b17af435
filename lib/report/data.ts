/**
 * The contents of a report as plain data. It has no references to files or archives, so that a page
 * can be made from any source, and tested with any data. All text may come from a hostile file.
 */

/** Frames of one place, from the oldest to the newest. */
export interface ReportData {
  /** Subject of the report, as the user named it. */
  place: string
  kind: 'archive' | 'directory' | 'chain'
  madeAt: Date
  frames: readonly ReportFrame[]
  /** Which parts of the memory changed when. */
  heat: ReportHeat
  /**
   * Extent of the check for damage. `'listed'`: files were not read; `'opened'`: all but the pages;
   * `'verified'`: every byte.
   */
  checked: 'listed' | 'opened' | 'verified'
  /** Sentences that say what was left out, and why. */
  remarks: readonly string[]
}

/** One frame. Sizes are in bytes; unknown values are absent. */
export interface ReportFrame {
  /** Ascending, possibly with gaps. */
  number: number
  /** Display name. */
  name: string
  id?: string
  /** Id of the frame that it builds on, which may be missing from the report. */
  parentId?: string
  frozenAt: Date
  kind: 'full' | 'delta'
  byteLength?: number
  /** Bytes of this frame that differ from its parent. */
  changedBytes?: number
  /** Bytes on disk. */
  fileSize: number
  pauseMs?: number
  durationMs?: number
  engine?: string
  hasState: boolean
  /** The retention rules that keep it; [] if none are known. */
  keptBecause: readonly string[]
  /** The reason why it cannot be read. */
  damage?: string
  sections: readonly { name: string; byteLength: number }[]
}

/** Which parts of the memory changed between each frame and the one before it. */
export interface ReportHeat {
  /** The sections drawn, those with the most changes first. */
  sections: readonly HeatSection[]
}

/**
 * One section over all frames, in pieces of equal length, except that the last piece may be
 * shorter.
 */
export interface HeatSection {
  name: string
  /** Largest size in any frame. */
  byteLength: number
  pieceBytes: number
  /**
   * For each frame of the report, the share of each piece that differs from the preceding frame, 0
   * to 1; undefined if the two were not compared.
   */
  columns: readonly (readonly number[] | undefined)[]
}
