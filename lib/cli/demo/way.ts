/** The methods of saving memory that the demo compares. */

/** Receives the number of bytes done so far. */
export type OnBytes = (bytesDone: number) => void

/** A file being saved. */
export interface Saving {
  /** Resolves when the file is complete and on disk. */
  done: Promise<{ extraBytes: number; fileSize: number }>
}

/** A saved file that was read back into memory. */
export interface Reopened {
  buffer: ArrayBuffer
  close(): Promise<void> | void
}

/** One method of reading a saved file back into memory. */
export interface Reopening {
  /** `'map'`, `'copy'`, `'read'`. */
  name: string
  open(path: string, signal: AbortSignal, onProgress: OnBytes): Promise<Reopened>
}

/** One method of saving memory. */
export interface Way {
  /** Label of the row. */
  name: string
  /** The engine; undefined for a method that does not use stillframe. */
  engine: string | undefined
  /** Preparation shortly before the call, which is not measured. */
  beforeCall?(): Promise<void>
  /**
   * Starts to save the memory as it is at the call. The duration of this call is the pause: nothing
   * else in the service runs until it returns.
   */
  save(path: string, signal: AbortSignal, onProgress: OnBytes): Saving
  /** The first one is the fastest; the time to its first read is measured. */
  reopenings: readonly Reopening[]
}
