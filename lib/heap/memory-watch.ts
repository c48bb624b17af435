/**
 * A watch over the memory of this thread's JavaScript. When a trigger fires, a forked copy of the
 * process writes a heap snapshot, even if the service dies meanwhile.
 */

import { AsyncResource } from 'node:async_hooks'
import { accessSync, constants, readdirSync, unlinkSync } from 'node:fs'
import { join } from 'node:path'
import process from 'node:process'
import { isMainThread, resourceLimits, threadId } from 'node:worker_threads'
import {
  loadHeapAddon,
  type MemoryWatchHandle,
  type MemoryWatchPlan,
  type MemoryWatchTriggers,
  type NativeWatchEvent,
} from '../addon/heap-addon.js'
import {
  CallSite,
  fromNative,
  fromSystem,
  invalidArgValue,
  outOfRange,
  StillframeError,
} from '../base/errors.js'
import { checkPath } from '../base/path.js'
import {
  checkBoolean,
  checkCallback,
  checkChoice,
  checkOptions,
  optionalInteger,
  type UncheckedOptions,
} from '../base/validate.js'
import { refuseInFrozenCopy } from '../snapshot/frozen-copy.js'
import { checkBounds, maxTimeoutMs } from './options.js'

/** The trigger that fired. */
export type MemoryTrigger = 'near-heap-limit' | 'heap' | 'rss' | 'cgroup' | 'pressure'

/** A file that a {@link MemoryWatch} has written. */
export interface MemoryCapture {
  trigger: MemoryTrigger
  kind: 'snapshot' | 'summary'
  /**
   * For a summary: why there is no heap snapshot, as the error that `onError` would have received.
   */
  error?: StillframeError
  /** Absolute path. The file is complete and published. */
  path: string
  /** Length of the file in bytes. */
  fileSize: number
  /** Bytes of V8's heap that were in use. */
  heapBytes: number
  /** Milliseconds for which the service was paused. */
  pauseMs: number
  /** Milliseconds from the fork to the published file. */
  durationMs: number
}

/** Why a trigger produced no file. */
export interface MemoryCaptureFailure {
  trigger: MemoryTrigger
  error: StillframeError
}

/** Options of {@link watchMemory}. */
export interface MemoryWatchOptions {
  /** The directory of the files, which must exist. */
  directory: string | URL
  /**
   * True (default): act when V8 is about to run out of heap. V8 reports that once it has collected
   * all it can; afterwards V8 behaves as it would without the watch, a few MiB of heap later.
   */
  nearHeapLimit?: boolean | undefined
  /** Act when this many bytes of the heap are in use after a full garbage collection. */
  heapUsedBytes?: number | undefined
  /** The same as a percentage of V8's limit, above 0 and up to 100. */
  heapUsedPercent?: number | undefined
  /** Act when this many bytes of the process are resident (RSS). */
  rssBytes?: number | undefined
  /**
   * Act when the memory cgroup has used this percentage of its limit, above 0 and up to 100. Page
   * cache that can be dropped is not counted. Without a limit this never fires.
   */
  cgroupPercent?: number | undefined
  /**
   * Act when something in the cgroup (or on the machine, if the cgroup does not report pressure)
   * has waited for memory for this percentage of the last ten seconds (PSI), above 0 and up to 100.
   */
  pressurePercent?: number | undefined
  /** Milliseconds between checks of RSS, cgroup and pressure, at least 10. Default 1,000. */
  everyMs?: number | undefined
  /**
   * Milliseconds after a capture during which all triggers but `nearHeapLimit` are ignored; that
   * trigger may be the last. Default 600,000.
   */
  coolDownMs?: number | undefined
  /**
   * Number of files to keep, at least 1: the most recent files that any watch has written to the
   * directory, since each may have been the last of its process. Default 5.
   */
  keep?: number | undefined
  /**
   * What to do when the copy does not fit into memory, either by estimate or in fact: a heap
   * snapshot takes about 13 times the heap. `'summary'`: leave a {@link HeapSummary}, in a file
   * ending in `.heapsummary.json`. `'skip'`: only print a line on stderr and call `onError`.
   * Default: `'summary'`.
   */
  whenTooBig?: 'summary' | 'skip' | undefined
  /** True: the files omit the contents of strings, as in `writeHeapSnapshot()`. Default: false. */
  redact?: boolean | undefined
  /**
   * Maximum memory, in bytes, that the copy may have of its own. Default: the memory that the
   * process (its cgroup) has left at the capture, minus one eighth and at least 32 MiB.
   */
  memoryLimit?: number | undefined
  /** As in {@link ForkOptions}; the copy enforces it itself. Default 60,000. */
  stallTimeoutMs?: number | undefined
  /** As `stallTimeoutMs`. Default 1,800,000. */
  timeoutMs?: number | undefined
  /**
   * Niceness of the copy, from 0 to 19. Default 0: the file is needed before the service dies, and
   * the memory of the copy is needed back.
   */
  nice?: number | undefined
  /** Permission bits of the files. Default 0o600. */
  mode?: number | undefined
  /** Called when a file is published, if the service is still running. */
  onCapture?: ((capture: MemoryCapture) => void) | undefined
  /** Called when a trigger has produced no file. */
  onError?: ((failure: MemoryCaptureFailure) => void) | undefined
}

const known = [
  'directory',
  'nearHeapLimit',
  'heapUsedBytes',
  'heapUsedPercent',
  'rssBytes',
  'cgroupPercent',
  'pressurePercent',
  'everyMs',
  'coolDownMs',
  'keep',
  'whenTooBig',
  'redact',
  'memoryLimit',
  'stallTimeoutMs',
  'timeoutMs',
  'nice',
  'mode',
  'onCapture',
  'onError',
] as const satisfies readonly (keyof MemoryWatchOptions)[]

type Given = UncheckedOptions<(typeof known)[number]>

let startWatch: (plan: MemoryWatchPlan, options: CheckedOptions) => MemoryWatch

interface CheckedOptions {
  readonly directory: string
  readonly keep: number
  readonly onCapture: ((capture: MemoryCapture) => void) | undefined
  readonly onError: ((failure: MemoryCaptureFailure) => void) | undefined
}

/**
 * Watches the memory of this thread's JavaScript until `stop()` or the end of the thread. When a
 * trigger fires, the process is forked wherever it is, even in an endless loop or inside a garbage
 * collection. The copy writes a heap snapshot to
 * `directory/heap-<pid>-<time in UTC>-<trigger>.heapsnapshot` (in a Worker `<pid>.<thread>`), or a
 * summary if there is too little memory for a heap snapshot. The copy continues if the service
 * dies, is killed or exits meanwhile: the file is then complete, or absent. Each event is reported
 * in one line on stderr, beginning with `stillframe: `.
 *
 * The watch neither keeps the event loop alive nor ends a service that would have survived. A watch
 * never has two copies at once.
 *
 * @throws TypeError, RangeError for invalid arguments; StillframeError `ERR_STILLFRAME_ABI`,
 *   `ERR_STILLFRAME_UNSUPPORTED_PLATFORM`, `ERR_STILLFRAME_IO` if the directory is not writable.
 */
export function watchMemory(options: MemoryWatchOptions): MemoryWatch {
  refuseInFrozenCopy('watchMemory')
  const given: Given = checkOptions(options, known)
  const directory = checkDirectory(given.directory)
  const integer = (key: keyof Given, min: number, max: number, otherwise: number): number =>
    optionalInteger(given[key], `options.${key}`, min, max) ?? otherwise
  const target = {
    path: directory,
    overwrite: false,
    mode: integer('mode', 0, 0o777, 0o600),
    durable: true,
  }
  const plan: MemoryWatchPlan = {
    target,
    ...checkBounds(given, { stallTimeoutMs: 60_000, timeoutMs: 1_800_000, nice: 0 }),
    triggers: checkTriggers(given),
    owner: isMainThread ? `${process.pid}` : `${process.pid}.${threadId}`,
    everyMs: integer('everyMs', 10, maxTimeoutMs, 1000),
    coolDownMs: integer('coolDownMs', 0, maxTimeoutMs, 600_000),
    thread: threadId,
    oldGenerationLimit: isMainThread ? 0 : (resourceLimits.maxOldGenerationSizeMb ?? 0) * 2 ** 20,
    redact: checkBoolean(given.redact, 'options.redact', false),
    summarize:
      given.whenTooBig === undefined ||
      checkChoice(given.whenTooBig, 'options.whenTooBig', ['summary', 'skip']) === 'summary',
  }
  return startWatch(plan, {
    directory,
    keep: integer('keep', 1, Number.MAX_SAFE_INTEGER, 5),
    onCapture: checkCallback(given.onCapture, 'options.onCapture'),
    onError: checkCallback(given.onError, 'options.onError'),
  })
}

function checkTriggers(given: Given): MemoryWatchTriggers {
  const bytes = (key: keyof Given): number =>
    optionalInteger(given[key], `options.${key}`, 1, Number.MAX_SAFE_INTEGER) ?? 0
  const triggers = {
    nearHeapLimit: checkBoolean(given.nearHeapLimit, 'options.nearHeapLimit', true),
    heapUsedBytes: bytes('heapUsedBytes'),
    heapUsedPercent: checkPercent(given.heapUsedPercent, 'options.heapUsedPercent'),
    rssBytes: bytes('rssBytes'),
    cgroupPercent: checkPercent(given.cgroupPercent, 'options.cgroupPercent'),
    pressurePercent: checkPercent(given.pressurePercent, 'options.pressurePercent'),
  }
  if (Object.values(triggers).every((at) => at === false || at === 0)) {
    throw invalidArgValue('options.nearHeapLimit is false, and nothing else is watched for')
  }
  return triggers
}

/** Returns 0 for undefined. */
function checkPercent(value: unknown, name: string): number {
  if (value === undefined) return 0
  if (typeof value !== 'number' || !(value > 0 && value <= 100)) {
    throw outOfRange(name, 'a number above 0 and up to 100', value)
  }
  return value
}

function checkDirectory(value: unknown): string {
  const asked = typeof value === 'string' && value !== '/' ? value.replace(/\/+$/, '') : value
  const directory = checkPath(asked === '' ? '/.' : asked, 'write')
  try {
    // With the trailing dot, the check fails for a path that is not a directory.
    accessSync(`${directory}/.`, constants.W_OK | constants.X_OK)
  } catch (error) {
    throw fromSystem(error, directory)
  }
  return directory
}

/** A running watch. */
export class MemoryWatch {
  /** Absolute path. */
  readonly directory: string

  readonly #options: CheckedOptions
  readonly #callSite = new CallSite(watchMemory)
  readonly #inContext = new AsyncResource('StillframeMemoryWatch')
  #handle: MemoryWatchHandle | undefined
  /** The `started` events by path, until their copies have ended. */
  readonly #started = new Map<string, NativeWatchEvent>()
  #captures = 0

  static {
    startWatch = (plan, options) => new MemoryWatch(plan, options)
  }

  private constructor(plan: MemoryWatchPlan, options: CheckedOptions) {
    if (plan?.owner === undefined)
      throw new TypeError('MemoryWatch has no public constructor: use watchMemory()')
    this.directory = options.directory
    this.#options = options
    const addon = loadHeapAddon()
    prune(options.directory, options.keep)
    try {
      this.#handle = new addon.MemoryWatch(plan, (event) => this.#onEvent(event))
    } catch (error) {
      throw fromNative(error, options.directory, watchMemory)
    }
  }

  /** Number of files that the watch has written. */
  get captures(): number {
    return this.#captures
  }

  /** Ends the watch; a running copy continues. Idempotent. */
  stop(): void {
    this.#handle?.stop()
    this.#handle = undefined
  }

  [Symbol.dispose](): void {
    this.stop()
  }

  #onEvent(event: NativeWatchEvent): void {
    const { kind, trigger, path, isSummary, insteadOf } = event
    if (kind === 'started') {
      this.#started.set(path, event)
      return
    }
    const begun = insteadOf === '' ? path : insteadOf
    const started = this.#started.get(begun) ?? event
    this.#started.delete(begun)
    if (kind !== 'ended') {
      this.#call(this.#options.onError, { trigger, error: this.#errorOf(event) })
      return
    }
    this.#captures++
    prune(this.directory, this.#options.keep)
    const { fileSize, durationMs } = event
    const { heapBytes, pauseMs } = started
    const capture = { trigger, path, fileSize, heapBytes, pauseMs, durationMs }
    this.#call(
      this.#options.onCapture,
      isSummary
        ? { ...capture, kind: 'summary', error: this.#errorOf(event) }
        : { ...capture, kind: 'snapshot' },
    )
  }

  /**
   * Calls back in the caller's async context. Errors thrown by the callback are uncaught
   * exceptions, as usual.
   */
  #call<Argument>(callback: ((argument: Argument) => void) | undefined, argument: Argument): void {
    if (callback === undefined) return
    this.#inContext.runInAsyncScope(() => process.nextTick(callback, argument))
  }

  #errorOf({ path, insteadOf, failure, neededBytes, availableBytes }: NativeWatchEvent): StillframeError {
    if (failure !== undefined)
      return fromNative(failure, insteadOf || path, this.#callSite) as StillframeError
    const error = new StillframeError(
      'ERR_STILLFRAME_MEMORY_LIMIT',
      `a heap snapshot would take about ${neededBytes} bytes of memory, and only ${availableBytes} ` +
        'may be used',
      {},
    )
    this.#callSite.claim(error)
    return error
  }
}

const ours =
  /^heap-\d+(?:\.\d+)?-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{3}Z)-[a-z-]+\.heap(?:snapshot|summary\.json)$/

/**
 * Removes all but the latest files that watches have written. Files that cannot be removed are
 * left.
 */
function prune(directory: string, keep: number): void {
  const files: { name: string; time: string }[] = []
  try {
    for (const name of readdirSync(directory)) {
      const time = ours.exec(name)?.[1]
      if (time !== undefined) files.push({ name, time })
    }
  } catch {}
  files.sort((a, b) => (a.time < b.time ? 1 : -1))
  for (const { name } of files.slice(keep)) {
    try {
      unlinkSync(join(directory, name))
    } catch {}
  }
}
