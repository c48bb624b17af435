/**
 * The errors of the package: {@link StillframeError} for refusals by the machine or a file, and
 * `TypeError`/`RangeError` with Node's codes for wrong arguments.
 */

import { existsSync } from 'node:fs'
import { getSystemErrorMap, inspect, types } from 'node:util'
import type { NativeFailure } from './native-failure.js'
import { printable } from './printable.js'

/**
 * Every value of {@link StillframeError.code}; docs/ERRORS.md says what to do about each.
 *
 * - `UNSUPPORTED_PLATFORM`: not Linux, or not x64/arm64.
 * - `ABI`: the native addon cannot be loaded into this Node.
 * - `ENGINE_UNAVAILABLE`: the requested engine cannot do this here.
 * - `BUSY`: the memory is in use by a capture or a restore, or the file by a capture; or V8's
 *   threads did not come to rest.
 * - `CLOSED`: the memory was closed or detached.
 * - `EXISTS`: the file exists and `overwrite` is false; or the condition of a `put` does not hold.
 * - `MEMORY_LIMIT`: copy-on-write has taken `memoryLimit`.
 * - `NO_SPACE`: the disk is full, or a quota or the file size limit is reached.
 * - `IO`: any other system call that failed; see `errnoName`, `errno` and `syscall`.
 * - `STALLED`: no progress for `stallTimeoutMs`.
 * - `CHILD_DIED`, `CHILD_OOM`: the forked copy was killed, by a signal or by the OOM killer.
 * - `CALLBACK`: the caller's code threw; its error is the `cause`.
 * - `FORMAT`: not a snapshot file.
 * - `VERSION`: a snapshot file of a newer format.
 * - `CORRUPT`: a damaged snapshot file; see `section` and `offset`.
 * - `PARENT`: the snapshot that another one builds on is missing, or is not the recorded one.
 * - `GAP`: an archive has no intact frame at or before the requested time.
 * - `NOT_FOUND`: there is no such archive, no such frame in it, or no frame at all yet; or no such
 *   object in a store.
 * - `FENCED`: another writer has taken over an archive in a store.
 * - `UNSUPPORTED_STORE`: an object store lacks a required feature, such as conditional writes.
 * - `KEY`: the data is encrypted with a key other than the given one.
 */
export type StillframeErrorCode =
  | 'ERR_STILLFRAME_UNSUPPORTED_PLATFORM'
  | 'ERR_STILLFRAME_ABI'
  | 'ERR_STILLFRAME_ENGINE_UNAVAILABLE'
  | 'ERR_STILLFRAME_BUSY'
  | 'ERR_STILLFRAME_CLOSED'
  | 'ERR_STILLFRAME_EXISTS'
  | 'ERR_STILLFRAME_MEMORY_LIMIT'
  | 'ERR_STILLFRAME_NO_SPACE'
  | 'ERR_STILLFRAME_IO'
  | 'ERR_STILLFRAME_STALLED'
  | 'ERR_STILLFRAME_CHILD_DIED'
  | 'ERR_STILLFRAME_CHILD_OOM'
  | 'ERR_STILLFRAME_CALLBACK'
  | 'ERR_STILLFRAME_FORMAT'
  | 'ERR_STILLFRAME_VERSION'
  | 'ERR_STILLFRAME_CORRUPT'
  | 'ERR_STILLFRAME_PARENT'
  | 'ERR_STILLFRAME_GAP'
  | 'ERR_STILLFRAME_NOT_FOUND'
  | 'ERR_STILLFRAME_FENCED'
  | 'ERR_STILLFRAME_UNSUPPORTED_STORE'
  | 'ERR_STILLFRAME_KEY'

/** Properties of a {@link StillframeError} besides its code and message. */
export interface StillframeErrorDetails {
  errno?: number | undefined
  errnoName?: string | undefined
  syscall?: string | undefined
  path?: string | undefined
  section?: string | undefined
  offset?: number | undefined
  cause?: unknown
}

/**
 * A well-formed request was refused by the machine, the file or the state of the memory. Properties
 * that do not apply are absent.
 */
export class StillframeError extends Error {
  /** Stable: branch on this, never on the message. */
  declare readonly code: StillframeErrorCode
  /**
   * Negative, as Node reports it (`-os.constants.errno.ENOSPC`); present only if a system call
   * failed.
   */
  declare readonly errno?: number
  /**
   * Symbolic name of `errno`, such as `'ENOENT'`: the `code` of errors from Node's own file
   * functions.
   */
  declare readonly errnoName?: string
  /** The system call that failed, such as `'pwrite'`. */
  declare readonly syscall?: string
  /** Absolute path of the file concerned. */
  declare readonly path?: string
  /**
   * For `ERR_STILLFRAME_CORRUPT`: the damaged section; absent if the damage is outside all
   * sections.
   */
  declare readonly section?: string
  /** For `ERR_STILLFRAME_CORRUPT`: where the damage is, in bytes from the start of the file. */
  declare readonly offset?: number

  constructor(code: StillframeErrorCode, message: string, details: StillframeErrorDetails = {}) {
    const { cause, ...rest } = Object.assign(Object.create(null), details) as StillframeErrorDetails
    super(message, cause === undefined ? undefined : { cause })
    this.code = code
    for (const [key, value] of Object.entries(rest)) {
      if (value !== undefined)
        Object.defineProperty(this, key, { value, enumerable: true, configurable: true })
    }
  }

  static {
    // Set on the prototype, so that printing an error does not list its class name as a property.
    Object.defineProperty(StillframeError.prototype, 'name', {
      value: 'StillframeError',
      configurable: true,
      writable: true,
    })
  }
}

/** @internal Converts an error of Node's own file functions to a StillframeError. */
export function fromSystem(error: unknown, path: string): unknown {
  const { errno, syscall, code, message } = error as NodeJS.ErrnoException
  if (typeof code !== 'string' || typeof syscall !== 'string') return error
  return new StillframeError('ERR_STILLFRAME_IO', `${path}: ${message}`, {
    errno,
    errnoName: code,
    syscall,
    path,
    cause: error,
  })
}

/** Advice about a failure: the last sentence of its message. */
const advice: Partial<Record<StillframeErrorCode, string>> = {
  ERR_STILLFRAME_NO_SPACE: 'Free disk space (or raise the quota or file size limit), or choose another path.',
  ERR_STILLFRAME_EXISTS: 'Choose another path, or pass overwrite: true to replace the file.',
  ERR_STILLFRAME_MEMORY_LIMIT: 'Raise the limit, or try again when less is being written.',
  ERR_STILLFRAME_STALLED:
    'Check what it is waiting for (the disk, the callback), or raise the named timeout if it is merely slow.',
  ERR_STILLFRAME_CHILD_DIED: 'Nothing was published; take the snapshot again.',
  ERR_STILLFRAME_CHILD_OOM: 'Free memory or set a smaller memoryLimit, then take the snapshot again.',
  ERR_STILLFRAME_BUSY: 'Wait for the running capture or restore to end, or abort it.',
  ERR_STILLFRAME_FORMAT: 'Check the path.',
  ERR_STILLFRAME_VERSION: 'Read it with a newer version of stillframe.',
  ERR_STILLFRAME_CORRUPT: 'Use another snapshot; verify() lists all the damage in this one.',
}

/** True for the errors that native code throws or passes to callbacks. */
export function isNativeFailure(error: unknown): error is NativeFailure {
  return types.isNativeError(error) && Object.hasOwn(error, 'failure')
}

/**
 * True for errors of any realm. Native code creates its errors in Node's own realm, and this module
 * may be evaluated in another one (Jest, Vitest's vm pools, `node:vm`), where `instanceof`
 * recognizes only half of them.
 */
export function isError(value: unknown): value is Error {
  if (types.isNativeError(value) || value instanceof Error) return true
  return Object.prototype.toString.call(value) === '[object DOMException]'
}

/** The `code` of any thrown value, of any realm; undefined if it has none. */
export function codeOf(thrown: unknown): unknown {
  return (thrown as { code?: unknown } | null | undefined)?.code
}

/** The message of an error, or any other thrown value as text. */
export function messageOf(thrown: unknown): string {
  return isError(thrown) ? thrown.message : String(thrown)
}

/**
 * Converts a failure that native code reported to the error for the user. Anything else is returned
 * unchanged.
 *
 * @param error - as thrown by native code, or passed to a callback.
 * @param path - the file concerned, if any.
 * @param stack - source of the error's stack: a {@link CallSite} taken when the operation began,
 *   or, if the error is about to be thrown synchronously, the exported function that it will leave
 *   from.
 */
export function fromNative(error: unknown, path: string | undefined, stack: CallSite | Entry): unknown {
  if (!isNativeFailure(error)) return error
  const code = `ERR_STILLFRAME_${error.failure}` as StillframeErrorCode
  const how = describeCall(error)
  // The message may quote the file.
  const what = printable(error.message).replace(/\.$/, '')
  const message = [
    path === undefined ? '' : `${path}: `,
    what,
    how === '' ? '' : ` (${how})`,
    damagedPlace(error),
    whatIsMissing(error),
    advice[code] === undefined ? '' : `. ${advice[code]}`,
  ].join('')
  const result = argumentError(error, message) ?? stillframeError(error, code, message, path)
  if (stack instanceof CallSite) stack.claim(result)
  else Error.captureStackTrace(result, stack)
  return result
}

/**
 * The system call that failed, as in Node's messages: `'ENOENT: no such file or directory, open'`.
 */
function describeCall({ errno, errnoName, syscall }: NativeFailure): string {
  if (errno <= 0) return syscall
  const [, meaning] = getSystemErrorMap().get(-errno) ?? []
  return `${errnoName}${meaning === undefined ? '' : `: ${meaning}`}, ${syscall}`
}

/** Explains a failure to name an unnamed file, which is done through /proc, if /proc is missing. */
function whatIsMissing({ errnoName, syscall }: NativeFailure): string {
  if (syscall !== 'linkat' || errnoName !== 'ENOENT' || existsSync('/proc/self/fd')) return ''
  return '. /proc is not mounted, and publishing a snapshot requires it: mount -t proc proc /proc'
}

/** Location of the damage, for the message about a damaged file. */
function damagedPlace({ failure, section, offset }: NativeFailure): string {
  if (failure !== 'CORRUPT' || offset < 0) return ''
  return section === ''
    ? `, at byte ${offset} of the file`
    : `, at byte ${offset} of the file, in section '${printable(section)}'`
}

/**
 * Converts wrong arguments that only native code can detect, by reading the file. They get Node's
 * codes.
 */
function argumentError({ failure }: NativeFailure, message: string): Error | undefined {
  if (failure === 'NO_SECTION' || failure === 'NOT_MAPPABLE') return invalidArgValue(message)
  if (failure === 'OUT_OF_RANGE') return rangeError(message)
  return undefined
}

function stillframeError(
  { failure, errno, errnoName, syscall, section, offset }: NativeFailure,
  code: StillframeErrorCode,
  message: string,
  path: string | undefined,
): StillframeError {
  const corrupt = failure === 'CORRUPT'
  return new StillframeError(code, message, {
    errno: errno > 0 ? -errno : undefined,
    errnoName: errno > 0 ? errnoName : undefined,
    syscall: syscall || undefined,
    path,
    section: corrupt && section !== '' ? section : undefined,
    offset: corrupt && offset >= 0 ? offset : undefined,
  })
}

/** An exported function: stack frames above and including it are removed. */
type Entry = (...args: never[]) => unknown

/**
 * The place in the caller's code that began an asynchronous operation. An error that arrives later,
 * from a native callback, has no useful stack of its own, so it gets this one.
 */
export class CallSite {
  // Not an Error, which would capture the stack a second time.
  readonly #here: { stack?: string } = {}

  /** @param entry - the exported function that was called; the stack begins at its caller. */
  constructor(entry: Entry) {
    Error.captureStackTrace(this.#here, entry)
  }

  /** Replaces the stack of `error` with that of the call. */
  claim(error: Error): void {
    // If the service has set Error.prepareStackTrace or stackTraceLimit, there may be no such
    // lines.
    const stack: unknown = this.#here.stack
    const frames = typeof stack === 'string' ? /\n\s+at .*$/s.exec(stack) : null
    if (frames === null) return
    Object.defineProperty(error, 'stack', {
      value: `${error.name}: ${error.message}${frames[0]}`,
      configurable: true,
      writable: true,
    })
  }
}

/** Node's codes for wrong arguments. */
export type ArgumentErrorCode = 'ERR_INVALID_ARG_TYPE' | 'ERR_INVALID_ARG_VALUE' | 'ERR_OUT_OF_RANGE'

/**
 * Makes the error for a value of the wrong type.
 *
 * @param name - the argument, such as `'options.mode'`.
 * @param expected - with article, such as `'a boolean'`.
 */
export function invalidArgType(name: string, expected: string, value: unknown): TypeError {
  return withCode(
    new TypeError(`${name} must be ${expected}, not ${describe(value)}`),
    'ERR_INVALID_ARG_TYPE',
  )
}

/**
 * Makes the error for a value of the right type that cannot be used.
 *
 * @param message - the whole message: what is wrong and what would be right.
 */
export function invalidArgValue(message: string, cause?: unknown): TypeError {
  const error = new TypeError(message, cause === undefined ? undefined : { cause })
  return withCode(error, 'ERR_INVALID_ARG_VALUE')
}

/**
 * Makes the error for a number outside its range.
 *
 * @param name - the argument, such as `'options.mode'`.
 * @param range - completes "must be …", such as `'an integer from 0 to 10'`.
 */
export function outOfRange(name: string, range: string, value: unknown): RangeError {
  return rangeError(`${name} must be ${range}, not ${describe(value)}`)
}

/** A `RangeError` with code `ERR_OUT_OF_RANGE` and the given message. */
export function rangeError(message: string): RangeError {
  return withCode(new RangeError(message), 'ERR_OUT_OF_RANGE')
}

function withCode<E extends Error>(error: E, code: ArgumentErrorCode): E & { code: ArgumentErrorCode } {
  return Object.assign(error, { code })
}

/**
 * Formats a value for an error message: short, on one line, and without running the caller's code.
 */
export function describe(value: unknown): string {
  if (typeof value === 'function') return 'a function'
  if (typeof value === 'string' && value.length > 40) return `${inspect(value.slice(0, 40))}…`
  if (typeof value === 'object' && value !== null) {
    const text = inspect(value, { depth: -1, customInspect: false, breakLength: Number.POSITIVE_INFINITY })
    return text.length <= 60 ? text : `${text.slice(0, 60)}…`
  }
  return inspect(value)
}
