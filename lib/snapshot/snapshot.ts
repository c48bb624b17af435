/** Takes snapshots: everything up to the freeze happens in the call, the rest in the background. */

import { AsyncResource } from 'node:async_hooks'
import { performance } from 'node:perf_hooks'
import { inspect } from 'node:util'
import type { Addon, CaptureHandle, CapturePlan, NativeCaptureResult } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { CallSite, fromNative, isNativeFailure, StillframeError } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import type { NativeFailure } from '../base/native-failure.js'
import { checkPath } from '../base/path.js'
import { estimateMs, type SnapshotProgress } from '../base/progress.js'
import { idFromBytes, idToBytes, newId } from '../base/snapshot-id.js'
import { knownMachine } from '../machine/capabilities.js'
import {
  chooseEngine,
  type EngineChoice,
  type EngineName,
  type FaultHandling,
  fallbackOf,
  isTracking,
} from '../machine/engines.js'
import { type ResolvedSource, resolveSources, type Source, toNativeSources } from '../region/source.js'
import { abortError, CaptureJob, type JobTrace } from './capture-job.js'
import { refuseInFrozenCopy } from './frozen-copy.js'
import { type CheckedSnapshotOptions, checkSnapshotOptions, type SnapshotOptions } from './options.js'
import { type SnapshotTrace, snapshots } from './trace.js'

/** Result of {@link Snapshot.done}. The snapshot is complete and published. */
export interface SnapshotResult {
  id: string
  /** `'delta'`: the file contains only the differences from its parent. */
  kind: 'full' | 'delta'
  /** UUID of the parent; absent for a full snapshot. */
  parentId?: string
  /** Bytes in pages that differ from the parent; without a parent, bytes of all memory. */
  changedBytes: number
  /**
   * Bytes read to find the changes: all of memory; with `trackChanges`, what was written since the
   * parent, in units of 2 MiB; for mapped regions, what was written since the restore, in blocks of
   * 256 KiB. 0 without a parent.
   */
  scannedBytes: number
  /** Absolute path of the file. */
  path: string
  /** `'none'`: `compact()` made the file from other files. */
  engine: EngineName | 'none'
  faultHandling: FaultHandling
  /** Bytes of memory captured. */
  byteLength: number
  /** Length of the file in bytes, including its holes. */
  fileSize: number
  /** Bytes that the file occupies on disk; holes do not count. */
  allocatedBytes: number
  pauseMs: number
  /** Milliseconds from the freeze until the file was published. */
  durationMs: number
  /**
   * Numbers of pages: all pages of memory, zero pages, and pages that copy-on-write had to copy.
   */
  pages: { total: number; zero: number; copied: number }
  /** Peak of the extra memory that copy-on-write took, in bytes. */
  copiedBytesPeak: number
}

/**
 * Captures memory as it is at this instant, and writes it to a file while the program continues.
 *
 * The call blocks until the memory is frozen (`pauseMs`), and then returns. The file contains every
 * write made before the call, and none made after it returned. All sources are frozen at the same
 * instant. They stay referenced until the capture ends; until then, regions among them cannot be
 * closed.
 *
 * @param source - memory, or an object that maps section names to memory. A lone source becomes the
 *   section `'main'`.
 * @param path - the file to write; relative paths and `file:` URLs are resolved at the call.
 * @throws TypeError or RangeError for wrong arguments, before anything happens; the signal's reason
 *   if the signal is already aborted; StillframeError for failures up to the freeze. Later failures
 *   reject `done`.
 */
export function snapshot<Meta = JsonValue>(
  source: Source | Record<string, Source>,
  path: string | URL,
  options?: SnapshotOptions<Meta>,
): Snapshot {
  const calledAt = performance.now()
  refuseInFrozenCopy('snapshot')
  const checked = checkSnapshotOptions(options)
  const file = checkPath(path, 'write')
  const id = newId()
  return snapshots.call(
    () => ({ id, path: file }),
    checked.signal,
    (trace) => {
      refuseUnfinished(options?.parent)
      const sources = resolveSources(source)
      const request = { calledAt, id, sources, path: file, options: checked, trace }
      const shot = beginSnapshot({ ...request, sequel: undefined, entry: snapshot })
      if (trace !== undefined) tellFrozen(trace.context, shot, sources)
      return shot
    },
  )
}

/** @internal A snapshot whose arguments have been checked. */
export interface SnapshotRequest {
  /** `performance.now()` on entry: the pause begins here. */
  readonly calledAt: number
  /** UUID of the snapshot. */
  readonly id: string
  readonly sources: readonly ResolvedSource[]
  /** Absolute. */
  readonly path: string
  readonly options: CheckedSnapshotOptions
  /** Undefined without listeners. */
  readonly trace: JobTrace<SnapshotResult> | undefined
  readonly sequel: Sequel | undefined
  /** The exported function that was called: error stacks begin at its caller. */
  readonly entry: (...args: never[]) => unknown
}

/** @internal Publishes what belongs to a capture besides its file, once the file is published. */
export interface Sequel {
  /**
   * The file has been published. The capture is complete when this resolves, and fails if it
   * rejects.
   */
  commit(result: SnapshotResult): Promise<void>
  /**
   * The capture or `commit()` has failed: removes everything that belongs to the capture. Never
   * rejects.
   */
  discard(reason: unknown): Promise<void>
  /** The caller has aborted the capture. */
  abort(): void
}

/** @internal Freezes with the chosen engine, or with its fallback. */
export function beginSnapshot(request: SnapshotRequest): Snapshot {
  const { sources, path, options, entry } = request
  if (options.signal?.aborted) throw options.signal.reason
  const addon = loadAddon()
  const wish = { ...options, sources }
  const machine = knownMachine(addon)
  const choice = chooseEngine(wish, machine)
  try {
    return startSnapshot({ ...request, addon, choice })
  } catch (error) {
    const fallback = isRefusal(error) ? fallbackOf(wish, choice, machine) : undefined
    if (typeof fallback === 'string') throw fromNative(withoutFallback(error, fallback), path, entry)
    if (fallback === undefined) throw fromNative(error, path, entry)
    try {
      return startSnapshot({ ...request, addon, choice: fallback })
    } catch (again) {
      throw fromNative(again, path, entry)
    }
  }
}

/** @internal Adds to the trace what is known once the memory is frozen. */
export function tellFrozen(context: SnapshotTrace, shot: Snapshot, sources: readonly ResolvedSource[]): void {
  const { engine, faultHandling, pauseMs, frozenAt } = shot
  const byteLength = bytesOf(sources)
  const sections = sources.map(({ name }) => name)
  Object.assign(context, { engine, faultHandling, sections, byteLength, pauseMs, frozenAt })
}

function bytesOf(sources: readonly ResolvedSource[]): number {
  return sources.reduce((sum, { byteLength }) => sum + byteLength, 0)
}

/**
 * @internal Ends a capture early, for a reason other than its owner's abort; `done` rejects with
 * `reason`.
 */
export function giveUpSnapshot(snapshot: Snapshot, reason: unknown): void {
  giveUp(snapshot, reason)
}

/** Refuses a parent that is still being written. */
function refuseUnfinished(parent: unknown): void {
  if (!(parent instanceof Snapshot) || isComplete(parent)) return
  const { path } = parent
  const message = `${path}: the snapshot to build on is not complete. Await its 'done' first`
  throw new StillframeError('ERR_STILLFRAME_PARENT', message, { path })
}

/** True if this engine cannot freeze the memory at the moment, but another engine may. */
function isRefusal(error: unknown): boolean {
  return isNativeFailure(error) && (error.failure === 'BUSY' || error.failure === 'ENGINE_UNAVAILABLE')
}

/** Extends a refusal with the reason why 'auto' cannot fall back on fork. */
function withoutFallback(error: unknown, reason: string): unknown {
  const { message } = error as Error
  return Object.assign(error as Error, {
    message: `${message}; fork, the alternative, cannot be used: ${reason}`,
  })
}

/** A capture that is ready to start. */
interface CaptureRequest extends SnapshotRequest {
  readonly addon: Addon
  readonly choice: EngineChoice
}

/**
 * True if a direct read may have pinned pages of a source whose writes are recorded: data that it
 * delivers later would bypass the record. Where the kernel may write, such an engine is not chosen
 * in the presence of direct reads.
 */
function mayBePinned({ addon, choice, sources, options }: CaptureRequest): boolean {
  if (choice.faultHandling !== 'thread' || options.kernelWrites !== false) return false
  return isTracking({ trackChanges: options.trackChanges, sources }) && addon.directReads() !== ''
}

let startSnapshot: (request: CaptureRequest) => Snapshot
let isComplete: (snapshot: Snapshot) => boolean
let giveUp: (snapshot: Snapshot, reason: unknown) => void

/**
 * A running or finished capture; see {@link snapshot}.
 *
 * A failure that nobody observes raises `unhandledRejection`, because a backup that fails silently
 * is worse than a crash. A failure counts as observed if `done` is awaited, if the progress is
 * being iterated over (the loop throws it), or if the caller aborted the capture or disposed of it.
 */
export class Snapshot extends CaptureJob<SnapshotProgress, SnapshotResult> {
  /** UUID, also stored in the file. */
  readonly id: string
  /** Absolute path of the file. */
  readonly path: string
  /** The engine in use. */
  readonly engine: EngineName
  /** The handler of the first write to a frozen page. */
  readonly faultHandling: FaultHandling
  /** Milliseconds for which the call blocked this thread, from its first line to its last. */
  readonly pauseMs: number
  /** The instant at which the memory was frozen. */
  readonly frozenAt: Date

  /** Undefined after the end, so that native memory can be released. */
  #capture: CaptureHandle | undefined
  /** Held until the end, so that no source is garbage-collected while it is being saved. */
  #sources: readonly ResolvedSource[]
  readonly #callSite: CallSite
  readonly #sequel: Sequel | undefined
  /** Reason for which the capture was ended early, if not by its owner. */
  #cause: { readonly reason: unknown } | undefined
  readonly #frozenAtClock: number

  readonly #counters = new Float64Array(4)

  static {
    startSnapshot = (request) => new Snapshot(request)
    isComplete = (snapshot) => snapshot.state === 'complete'
    giveUp = (snapshot, reason) => snapshot.#giveUp(reason)
  }

  private constructor(request: CaptureRequest) {
    if (request?.calledAt === undefined)
      throw new TypeError('Snapshot has no public constructor: use snapshot()')
    super()
    const { id, addon, choice, sources, path, options, sequel, entry } = request
    this.id = id
    this.path = path
    this.engine = choice.engine
    this.faultHandling = choice.faultHandling
    this.#sources = sources
    this.#callSite = new CallSite(entry)
    this.#sequel = sequel
    const { metadata, file, parent, trackChanges, encoding, pacing, limits } = options
    const plan: CapturePlan = {
      ...choice,
      sources: toNativeSources(sources, addon),
      chain: undefined,
      id: idToBytes(this.id),
      metadata,
      parent: parent?.path,
      parentId: parent?.id === undefined ? undefined : idToBytes(parent.id),
      parents: parent?.parents ?? [],
      tracking: trackChanges === undefined ? 'keep' : trackChanges ? 'start' : 'stop',
      mayBePinned: mayBePinned(request),
      target: { path, ...file },
      encoding,
      pacing,
      limits,
    }
    // The final callbacks belong to the caller, and so to the caller's async context.
    const resource = new AsyncResource('StillframeSnapshot')
    this.#capture = new addon.Capture(plan, (failure: NativeFailure | null, result?: NativeCaptureResult) =>
      resource.runInAsyncScope(this.#end, this, failure, result),
    )
    this.#frozenAtClock = performance.now()
    this.frozenAt = new Date(this.#capture.frozenAtMs)
    this.begin({ abort: () => this.#abort() }, options, request.trace)
    this.pauseMs = performance.now() - request.calledAt
  }

  /** Current progress; after the end, the final progress. */
  get progress(): SnapshotProgress {
    this.#capture?.progress(this.#counters)
    const [bytesDone = 0, bytesTotal = 0, bytesWritten = 0, copiedBytes = 0] = this.#counters
    const progress: SnapshotProgress = { bytesDone, bytesTotal, bytesWritten, copiedBytes }
    const elapsedMs = performance.now() - this.#frozenAtClock
    const etaMs = this.state !== 'failed' ? estimateMs(elapsedMs, bytesDone, bytesTotal) : undefined
    if (etaMs !== undefined) progress.etaMs = etaMs
    return progress
  }

  /** @internal */
  [inspect.custom](_depth: number, options: object): string {
    const { id, path, engine, pauseMs, frozenAt, state, progress } = this
    return `Snapshot ${inspect({ id, path, engine, pauseMs, frozenAt, state, progress }, options)}`
  }

  /** Called once by native code. */
  #end(failure: NativeFailure | null, result?: NativeCaptureResult): void {
    this.#capture?.progress(this.#counters)
    this.#capture = undefined
    const byteLength = bytesOf(this.#sources)
    this.#sources = []
    if (result !== undefined && failure === null) this.#conclude(this.#resultOf(result, byteLength))
    else this.#fail(this.#reasonOf(failure))
  }

  #abort(): void {
    this.#capture?.abort()
    this.#sequel?.abort()
  }

  #giveUp(reason: unknown): void {
    this.#cause ??= { reason }
    this.#capture?.abort()
  }

  #conclude(result: SnapshotResult): void {
    if (this.#sequel === undefined) {
      this.complete(result)
      return
    }
    this.#sequel.commit(result).then(
      () => this.complete(result),
      (reason: unknown) => this.#fail(reason),
    )
  }

  #fail(reason: unknown): void {
    const why = this.#cause === undefined ? reason : this.#cause.reason
    if (this.#sequel === undefined) this.fail(why)
    else void this.#sequel.discard(why).then(() => this.fail(why))
  }

  #reasonOf(failure: NativeFailure | null): unknown {
    return failure?.failure === 'ABORTED' ? abortError() : fromNative(failure, this.path, this.#callSite)
  }

  #resultOf(native: NativeCaptureResult, byteLength: number): SnapshotResult {
    return {
      id: this.id,
      kind: native.parentId === undefined ? 'full' : 'delta',
      ...(native.parentId !== undefined && { parentId: idFromBytes(native.parentId) }),
      path: this.path,
      engine: this.engine,
      faultHandling: this.faultHandling,
      byteLength,
      changedBytes: native.changedBytes,
      scannedBytes: native.scannedBytes,
      fileSize: native.fileSize,
      allocatedBytes: native.allocatedBytes,
      pauseMs: this.pauseMs,
      durationMs: native.durationMs,
      pages: { total: native.pagesTotal, zero: native.pagesZero, copied: native.pagesCopied },
      copiedBytesPeak: native.copiedBytesPeak,
    }
  }
}
