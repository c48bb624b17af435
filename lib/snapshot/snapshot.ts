/**
 * Taking a snapshot: everything up to the freeze happens in the call, the rest in the background.
 */

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

/** What {@link Snapshot.done} resolves to. The snapshot is then complete and published. */
export interface SnapshotResult {
  id: string
  /** `'delta'`: the file holds only what differs from its parent. */
  kind: 'full' | 'delta'
  /** UUID of the snapshot that a delta builds on. */
  parentId?: string
  /** Bytes of the pages that are not as in the parent; without one, of all memory. */
  changedBytes: number
  /**
   * Bytes that were read to find the changes: all of memory, or with `trackChanges` what was
   * written since the parent, in units of 2 MiB; of mapped regions what was written since the
   * restore, in blocks of 256 KiB. 0 without a parent.
   */
  scannedBytes: number
  /** Absolute. */
  path: string
  /** `'none'`: it was made of files, by `compact()`. */
  engine: EngineName | 'none'
  faultHandling: FaultHandling
  /** Bytes of memory captured. */
  byteLength: number
  /** Length of the file in bytes, including its holes. */
  fileSize: number
  /** Bytes that the file takes on the disk: holes do not count. */
  allocatedBytes: number
  pauseMs: number
  /** Milliseconds from the freeze to the published file. */
  durationMs: number
  /**
   * Pages of memory: all of them, those that were zero, and those that copy-on-write had to copy.
   */
  pages: { total: number; zero: number; copied: number }
  /** The most extra memory, in bytes, that copy-on-write took at any one time. */
  copiedBytesPeak: number
}

/**
 * Captures memory as it is at this instant, and writes it to a file while the program goes on.
 *
 * The call blocks until the memory is frozen (`pauseMs`), and returns. The file holds every write
 * made before the call, and none made after it returned. All sources are frozen at the same
 * instant. They stay referenced until the capture ends; until then, regions among them cannot be
 * closed.
 *
 * @param source - memory, or an object of memory by section name. A lone source becomes the section
 *   `'main'`.
 * @param path - the file to write; relative paths and `file:` URLs are resolved at the call.
 * @throws TypeError, RangeError for wrong arguments, before anything happens; the signal's reason
 *   if it is aborted already; StillframeError for what fails up to the freeze. Later failures
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
  /** Undefined if nobody listens. */
  readonly trace: JobTrace<SnapshotResult> | undefined
  readonly sequel: Sequel | undefined
  /** The exported function that was called: stacks of errors begin at its caller. */
  readonly entry: (...args: never[]) => unknown
}

/** @internal What belongs to a capture besides its file, and is published after it. */
export interface Sequel {
  /** The file is there. The capture is complete when this resolves, and fails if it rejects. */
  commit(result: SnapshotResult): Promise<void>
  /** The capture has failed, or `commit()` has: nothing may be left of it. It never rejects. */
  discard(reason: unknown): Promise<void>
  /** The caller has aborted the capture. */
  abort(): void
}

/** @internal Freezes with the engine that is chosen, or with the one to fall back on. */
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

/** @internal What is known once the memory is frozen. */
export function tellFrozen(context: SnapshotTrace, shot: Snapshot, sources: readonly ResolvedSource[]): void {
  const { engine, faultHandling, pauseMs, frozenAt } = shot
  const byteLength = bytesOf(sources)
  const sections = sources.map(({ name }) => name)
  Object.assign(context, { engine, faultHandling, sections, byteLength, pauseMs, frozenAt })
}

function bytesOf(sources: readonly ResolvedSource[]): number {
  return sources.reduce((sum, { byteLength }) => sum + byteLength, 0)
}

/** @internal Ends a capture early: `done` rejects with `reason`, which its owner did not ask for. */
export function giveUpSnapshot(snapshot: Snapshot, reason: unknown): void {
  giveUp(snapshot, reason)
}

/** What is still being written cannot be built on. */
function refuseUnfinished(parent: unknown): void {
  if (!(parent instanceof Snapshot) || isComplete(parent)) return
  const { path } = parent
  const message = `${path}: the snapshot to build on is not complete. Await its 'done' first`
  throw new StillframeError('ERR_STILLFRAME_PARENT', message, { path })
}

/** The engine cannot freeze this memory just now, but another one may. */
function isRefusal(error: unknown): boolean {
  return isNativeFailure(error) && (error.failure === 'BUSY' || error.failure === 'ENGINE_UNAVAILABLE')
}

/** The same refusal, with the reason why 'auto' did not take fork instead. */
function withoutFallback(error: unknown, reason: string): unknown {
  const { message } = error as Error
  return Object.assign(error as Error, {
    message: `${message}; fork, the other way, cannot be used: ${reason}`,
  })
}

/** A capture that is ready to be started. */
interface CaptureRequest extends SnapshotRequest {
  readonly addon: Addon
  readonly choice: EngineChoice
}

/**
 * Whether a direct read may have pinned pages of a source whose writes are kept record of: what it
 * brings later would pass the record by. Where the kernel may write, no such engine is chosen then.
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
 * A failure raises `unhandledRejection` if nobody looks at it: a backup that fails in silence is
 * worse than a crash. A failure counts as looked at if `done` is awaited, if the progress is being
 * iterated over (the loop throws it), and if the caller aborted the capture or disposed of it.
 */
export class Snapshot extends CaptureJob<SnapshotProgress, SnapshotResult> {
  /** UUID, also in the file. */
  readonly id: string
  /** Absolute. */
  readonly path: string
  /** The engine that is used. */
  readonly engine: EngineName
  /** What answers the first write to a frozen page. */
  readonly faultHandling: FaultHandling
  /** Milliseconds for which the call blocked this thread, from its first line to its last. */
  readonly pauseMs: number
  /** The instant whose memory the file holds. */
  readonly frozenAt: Date

  /** Undefined after the end, so that native memory can go. */
  #capture: CaptureHandle | undefined
  /** Held until the end, so that no source is collected while it is being saved. */
  #sources: readonly ResolvedSource[]
  readonly #callSite: CallSite
  readonly #sequel: Sequel | undefined
  /** Why the capture was given up, if not by its owner. */
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
    // The callbacks at the end are the caller's, and belong to its async context.
    const resource = new AsyncResource('StillframeSnapshot')
    this.#capture = new addon.Capture(plan, (failure: NativeFailure | null, result?: NativeCaptureResult) =>
      resource.runInAsyncScope(this.#end, this, failure, result),
    )
    this.#frozenAtClock = performance.now()
    this.frozenAt = new Date(this.#capture.frozenAtMs)
    this.begin({ abort: () => this.#abort() }, options, request.trace)
    this.pauseMs = performance.now() - request.calledAt
  }

  /** How far the capture has come; after its end, how far it came. */
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
