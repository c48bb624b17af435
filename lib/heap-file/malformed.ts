/** What is wrong with a heap snapshot, found while its bytes are read; `reader.ts` adds the file's name. */

/** The file is damaged, cut short, or made by nobody's engine. */
export class Malformed extends Error {
  override readonly name = 'Malformed'
  /** Bytes from the start of the file; undefined where no single place is wrong. */
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
