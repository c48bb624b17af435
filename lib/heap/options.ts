/** Options of jobs in a forked copy: their meaning, defaults and checks. */

import type { Worker } from 'node:worker_threads'
import type { LimitsPlan, PacingPlan } from '../addon/addon.js'
import { invalidArgType, invalidArgValue } from '../base/errors.js'
import {
  checkBoolean,
  checkCallback,
  checkOptions,
  checkSignal,
  optionalInteger,
  type UncheckedOptions,
} from '../base/validate.js'
import {
  type CheckedFileOptions,
  checkFileOptions,
  type FileOptions,
  fileOptionNames,
} from '../snapshot/file-options.js'

/** Progress of a job. */
export interface ForkProgress {
  /** Bytes written to the file so far. */
  bytesWritten: number
  /**
   * For heap snapshots: steps of V8's walk over the heap, done and in total. Both are 0 before the
   * walk begins.
   */
  stepsDone: number
  stepsTotal: number
  /**
   * Bytes of memory that only the forked copy has: its own allocations, and pages that the service
   * has written to since the fork.
   */
  copiedBytes: number
}

/** Options of `writeHeapSnapshot()` and `snapshotState()`. */
export interface ForkOptions extends FileOptions {
  /** Aborts the job: `done` rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Milliseconds without any sign of work (the copy neither writes nor uses the processor) after
   * which the job fails with `ERR_STILLFRAME_STALLED`. Default 30,000.
   */
  stallTimeoutMs?: number | undefined
  /**
   * Total milliseconds after which the job fails with `ERR_STILLFRAME_STALLED`. Default 3,600,000.
   */
  timeoutMs?: number | undefined
  /**
   * Maximum memory, in bytes, for the copy's own allocations and for copy-on-write together, an
   * integer >= 1. Beyond it the job ends with `ERR_STILLFRAME_MEMORY_LIMIT`. Default: half of the
   * memory available at the call. A heap snapshot takes several times the heap, a heap summary a
   * small part of it.
   */
  memoryLimit?: number | undefined
  /**
   * Niceness of the copy, an integer from 0 to 19, so that the service comes first. The niceness of
   * the service is used if it is higher. Default 10.
   */
  nice?: number | undefined
  /**
   * True (default): if V8's threads are not at rest during the call, or if a copy hangs or dies,
   * the process is frozen at a later instant (`attempts`, `frozenAt`). False: the file shows the
   * instant of the call, or there is no file; `ERR_STILLFRAME_BUSY` is then thrown after a few
   * milliseconds, and the loss of a copy rejects `done`.
   */
  retry?: boolean | undefined
  /** Called about every 100 ms, and once with the final counts before `done` resolves. */
  onProgress?: ((progress: ForkProgress) => void) | undefined
}

/** Selects the thread whose heap is written. */
export interface HeapOwner {
  /**
   * The Worker whose heap is written, instead of the calling thread's. It must have loaded
   * `stillframe/heap`. The process is frozen as soon as the Worker can be interrupted, even in an
   * endless loop (`frozenAt`).
   */
  worker?: Worker | undefined
}

/** Options of `writeHeapSnapshot()`. */
export interface HeapSnapshotOptions extends ForkOptions, HeapOwner {
  /**
   * True: an object has the same id in all heap snapshots that are taken with this option (and in
   * those of `v8.writeHeapSnapshot()`). Comparisons need that: the Comparison view of DevTools,
   * memlab, and other tools that look for leaks. The first such call makes the service's V8 keep a
   * table of all objects until the process ends, and each call collects garbage and completes the
   * table during the pause: see docs/HEAP.md for the cost. False (default): the ids in a file occur
   * in no other file.
   */
  stableIds?: boolean | undefined
  /**
   * True: the file omits the contents of strings. Each character of a string is replaced by `*`;
   * types, sizes and references are unchanged, and so are the names of properties, classes and
   * functions. Descriptions of symbols and sources of regular expressions are replaced too. Keys of
   * objects are names of properties: see docs/HEAP.md for what remains readable. False (default):
   * the file contains every string of the service.
   */
  redact?: boolean | undefined
}

/** Options of `writeHeapSummary()`. */
export interface HeapSummaryOptions extends ForkOptions, HeapOwner {
  /** True: the file omits the contents of strings, but not the names of classes. Default false. */
  redact?: boolean | undefined
}

/** Options with their defaults filled in. */
export interface CheckedForkOptions {
  readonly signal: AbortSignal | undefined
  readonly file: CheckedFileOptions
  readonly pacing: PacingPlan
  readonly limits: LimitsPlan
  readonly retry: boolean
  readonly stableIds: boolean
  readonly redact: boolean
  /** `threadId` of a Worker; 0 for the calling thread. */
  readonly thread: number
  readonly onProgress: ((progress: ForkProgress) => void) | undefined
}

const known = [
  'signal',
  'stallTimeoutMs',
  'timeoutMs',
  'memoryLimit',
  ...fileOptionNames,
  'nice',
  'retry',
  'onProgress',
] as const satisfies readonly (keyof ForkOptions)[]

/** Maximum delay of a timer. */
export const maxTimeoutMs = 2 ** 31 - 1

/** Checks the options common to all jobs. @throws TypeError, RangeError. */
export function checkForkOptions(options: unknown): CheckedForkOptions {
  return fillIn(checkOptions(options, known))
}

/** Like `checkForkOptions()`, for a heap snapshot. */
export function checkHeapSnapshotOptions(options: unknown): CheckedForkOptions {
  const given = checkOptions(options, [...known, 'stableIds', 'redact', 'worker'])
  return {
    ...fillIn(given),
    thread: checkWorker(given['worker']),
    stableIds: checkBoolean(given['stableIds'], 'options.stableIds', false),
    redact: checkBoolean(given['redact'], 'options.redact', false),
  }
}

/** Like `checkForkOptions()`, for a heap summary. */
export function checkHeapSummaryOptions(options: unknown): CheckedForkOptions {
  const given = checkOptions(options, [...known, 'redact', 'worker'])
  return {
    ...fillIn(given),
    thread: checkWorker(given['worker']),
    redact: checkBoolean(given['redact'], 'options.redact', false),
  }
}

/** Refuses file options for output to a stream. @throws TypeError. */
export function refuseFileOptions(options: object | undefined): void {
  for (const name of fileOptionNames) {
    if (options !== undefined && (options as FileOptions)[name] !== undefined) {
      throw invalidArgValue(`options.${name} is for files, and the target is a stream`)
    }
  }
}

function checkWorker(value: unknown): number {
  if (value === undefined) return 0
  const { threadId, postMessage } = (value ?? {}) as Partial<Worker>
  if (typeof threadId !== 'number' || typeof postMessage !== 'function') {
    throw invalidArgType('options.worker', 'a Worker', value)
  }
  if (threadId < 1) throw invalidArgValue('options.worker has ended')
  return threadId
}

type BoundOption = 'memoryLimit' | 'nice' | 'stallTimeoutMs' | 'timeoutMs'

/** Checks the limits of a copy and fills in the defaults. @throws TypeError, RangeError. */
export function checkBounds(
  given: UncheckedOptions<BoundOption>,
  defaults: { stallTimeoutMs: number; timeoutMs: number; nice: number },
): { pacing: PacingPlan; limits: LimitsPlan } {
  const integer = (key: BoundOption, min: number, max: number, otherwise: number): number =>
    optionalInteger(given[key], `options.${key}`, min, max) ?? otherwise
  return {
    pacing: { maxBytesPerSecond: 0, nice: integer('nice', 0, 19, defaults.nice) },
    limits: {
      memoryLimit: integer('memoryLimit', 1, Number.MAX_SAFE_INTEGER, 0),
      onMemoryLimit: 'abort',
      stallTimeoutMs: integer('stallTimeoutMs', 1, maxTimeoutMs, defaults.stallTimeoutMs),
      timeoutMs: integer('timeoutMs', 1, maxTimeoutMs, defaults.timeoutMs),
    },
  }
}

function fillIn(given: UncheckedOptions<(typeof known)[number]>): CheckedForkOptions {
  return {
    signal: checkSignal(given.signal, 'options.signal'),
    file: checkFileOptions(given),
    ...checkBounds(given, { stallTimeoutMs: 30_000, timeoutMs: 3_600_000, nice: 10 }),
    retry: checkBoolean(given.retry, 'options.retry', true),
    stableIds: false,
    redact: false,
    thread: 0,
    onProgress: checkCallback<(progress: ForkProgress) => void>(given.onProgress, 'options.onProgress'),
  }
}
