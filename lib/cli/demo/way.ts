/** The ways of saving memory that the demo sets side by side. */

/** Told how far something has come. */
export type OnBytes = (bytesDone: number) => void

/** A file being saved. */
export interface Saving {
  /** Resolves when the file is complete and on disk. */
  done: Promise<{ extraBytes: number; fileSize: number }>
}

/** A saved file, in memory again. */
export interface Reopened {
  buffer: ArrayBuffer
  close(): Promise<void> | void
}

/** One way of getting memory back from a saved file. */
export interface Reopening {
  /** `'map'`, `'copy'`, `'read'`. */
  name: string
  open(path: string, signal: AbortSignal, onProgress: OnBytes): Promise<Reopened>
}

/** One way of saving memory. */
export interface Way {
  /** Names the row. */
  name: string
  /** The engine; undefined for what needs no stillframe. */
  engine: string | undefined
  /** What must happen shortly before the call and is no part of it. */
  beforeCall?(): Promise<void>
  /**
   * Starts to save the memory as it is at the call. How long this call takes is the pause: nothing
   * else of the service runs until it returns.
   */
  save(path: string, signal: AbortSignal, onProgress: OnBytes): Saving
  /** The first one is the quickest; the time to its first read is measured. */
  reopenings: readonly Reopening[]
}
