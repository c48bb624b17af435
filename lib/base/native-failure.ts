/** Failures as native code reports them; `errors.ts` converts them to errors for users. */

/** A failure in native code: a plain `Error` with these properties. */
export interface NativeFailure extends Error {
  /**
   * The code without the prefix `ERR_STILLFRAME_`: `'IO'`, `'NO_SPACE'`, `'CORRUPT'`, … In addition
   * to the public codes: `'ABORTED'`; `'NO_SECTION'` (restore of a section that the file does not
   * have) and `'NOT_MAPPABLE'` (`mode: 'map'` of a packed file), which become a TypeError with code
   * ERR_INVALID_ARG_VALUE; `'OUT_OF_RANGE'` (a restore target is too small or `maxBytes` is
   * exceeded), which becomes a RangeError with code ERR_OUT_OF_RANGE.
   */
  failure: string
  /** The operation and the problem, in words, without a path. */
  message: string
  /** Positive errno of the failing system call; 0 if there was none. */
  errno: number
  /** Symbolic name of errno (`'ENOSPC'`); '' if there was none. */
  errnoName: string
  /** The failing system call (`'pwrite'`); '' if there was none. */
  syscall: string
  /** For CORRUPT: byte offset in the file; -1 if unknown. */
  offset: number
  /** For CORRUPT: name of the section; '' if the damage is outside all sections. */
  section: string
}
