/** How native code reports a failure; `errors.ts` turns it into what users get. */

/** What native code reports when something fails: a plain `Error` with these properties. */
export interface NativeFailure extends Error {
  /**
   * Without the prefix `ERR_STILLFRAME_`: `'IO'`, `'NO_SPACE'`, `'CORRUPT'`, … Beyond the codes of
   * the public contract: `'ABORTED'`; `'NO_SECTION'` (restore of a section the file does not have)
   * and `'NOT_MAPPABLE'` (`mode: 'map'` of a packed file), which become a TypeError with code
   * ERR_INVALID_ARG_VALUE; `'OUT_OF_RANGE'` (a restore target is too small or `maxBytes` is
   * exceeded, becomes a RangeError with code ERR_OUT_OF_RANGE).
   */
  failure: string
  /** What was being done and what is wrong, in words, without a path. */
  message: string
  /** Positive errno of the failing system call, 0 when there was none. */
  errno: number
  /** Symbolic name of errno (`'ENOSPC'`), '' when there was none. */
  errnoName: string
  /** The failing system call (`'pwrite'`), '' when there was none. */
  syscall: string
  /** For CORRUPT: byte offset in the file, -1 when unknown. */
  offset: number
  /** For CORRUPT: name of the section, '' when the damage is outside any section. */
  section: string
}
