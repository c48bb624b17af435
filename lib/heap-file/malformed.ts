/**
 * Errors about the contents of a heap snapshot; `reading()` in `summary.ts` adds the name of the
 * file.
 */

/** The file is damaged, truncated, or not from any known engine. */
export class Malformed extends Error {
  override readonly name = 'Malformed'
  /** Bytes from the start of the file; undefined if no single place is wrong. */
  readonly offset: number | undefined

  constructor(reason: string, offset?: number) {
    super(reason)
    this.offset = offset
  }
}

/** The file is something else. */
export class NotAHeapSnapshot extends Error {
  override readonly name = 'NotAHeapSnapshot'
}
