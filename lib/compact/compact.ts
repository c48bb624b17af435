/** Makes one full file of a frame and all that it builds on. */

import { AsyncResource } from 'node:async_hooks'
import { performance } from 'node:perf_hooks'
import type {
  Addon,
  CaptureHandle,
  CapturePlan,
  ImageInfo,
  InspectPlan,
  NativeCaptureResult,
} from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { CallSite, fromNative } from '../base/errors.js'
import type { NativeFailure } from '../base/native-failure.js'
import { checkPath } from '../base/path.js'
import { estimateMs, type SnapshotProgress } from '../base/progress.js'
import { idFromBytes } from '../base/snapshot-id.js'
import { checkOptions } from '../base/validate.js'
import { checkLimits, type ReadLimits } from '../image/limits.js'
import { checkParents, type ParentOptions } from '../image/parents.js'
import { type JobCallback, runJob } from '../restore/read-job.js'
import { abortError, CaptureJob } from '../snapshot/capture-job.js'
import { fileOptionNames } from '../snapshot/file-options.js'
import {
  type CheckedSnapshotOptions,
  checkSnapshotOptions,
  type SnapshotOptions,
} from '../snapshot/options.js'
import type { SnapshotResult } from '../snapshot/snapshot.js'
import { compactions } from './trace.js'

/** Options of {@link compact}, with the same meaning as those of `snapshot()` and `restore()`. */
export interface CompactOptions
  extends ParentOptions,
    Pick<
      SnapshotOptions,
      | 'overwrite'
      | 'mode'
      | 'durable'
      | 'compression'
      | 'maxBytesPerSecond'
      | 'nice'
      | 'stallTimeoutMs'
      | 'signal'
      | 'onProgress'
    > {
  /** Limits on what the files may demand. */
  limits?: ReadLimits | undefined
}

const ofSnapshot = [
  ...fileOptionNames,
  'compression',
  'maxBytesPerSecond',
  'nice',
  'stallTimeoutMs',
  'signal',
  'onProgress',
] as const

/**
 * Makes one full file of a frame and all that it builds on. It is the same frame, in one piece: it
 * has the frame's id, instant (`frozenAt`) and metadata, and frames that build on `path` can be
 * read with either file. Every byte is checked while it is read, and the whole is checked before
 * the new file appears. It reads and writes in pieces: besides the index, it takes some 10 MiB of
 * memory and 1/256 of the size of the sections.
 *
 * Rejects with TypeError or RangeError for wrong arguments, with the signal's reason, and with a
 * StillframeError: `PARENT`, `CORRUPT`, `FORMAT`, `VERSION`, `EXISTS`, `NO_SPACE`, `IO`, `STALLED`.
 *
 * @param path - the newest frame of the chain. A full file is copied.
 * @param to - the file to write, which must not belong to the chain.
 */
export async function compact(
  path: string | URL,
  to: string | URL,
  options?: CompactOptions,
): Promise<SnapshotResult> {
  const callSite = new CallSite(compact)
  const file = checkPath(path, 'read')
  const target = checkPath(to, 'write', 'to')
  const given = checkOptions(options, [...ofSnapshot, 'parents', 'limits'])
  const { parents, limits, ...rest } = given
  const checked = checkSnapshotOptions(rest)
  const plan = { path: file, parents: checkParents(parents), limits: checkLimits(limits) }
  return await compactions.promise(
    () => ({ path: file, to: target }),
    checked.signal,
    () => compactAs(plan, target, checked, callSite),
  )
}

async function compactAs(
  plan: InspectPlan,
  target: string,
  checked: CheckedSnapshotOptions,
  callSite: CallSite,
): Promise<SnapshotResult> {
  const file = plan.path
  const addon = loadAddon()
  const opened = await runJob({
    path: file,
    callSite,
    signal: checked.signal,
    onProgress: undefined,
    start: (callback: JobCallback<Opened>) => addon.openChain(plan, callback),
    discard: undefined,
  })
  // Other code may have run since the end of the job.
  if (checked.signal?.aborted) throw checked.signal.reason
  let compaction: Compaction
  try {
    compaction = new Compaction({ addon, opened, file, target, options: checked, callSite })
  } catch (error) {
    throw fromNative(error, target, callSite)
  }
  return await compaction.done
}

type Opened = { chain: unknown; info: ImageInfo }

interface CompactRequest {
  readonly addon: Addon
  readonly opened: Opened
  /** Absolute: the newest file of the chain. */
  readonly file: string
  /** Absolute: the file to write. */
  readonly target: string
  readonly options: CheckedSnapshotOptions
  readonly callSite: CallSite
}

class Compaction extends CaptureJob<SnapshotProgress, SnapshotResult> {
  readonly #request: CompactRequest
  readonly #startedAt = performance.now()
  readonly #counters = new Float64Array(4)
  #capture: CaptureHandle | undefined

  constructor(request: CompactRequest) {
    super()
    this.#request = request
    const { addon, opened, target, options } = request
    const { file, encoding, pacing, limits } = options
    const plan: CapturePlan = {
      engine: 'none',
      faultHandling: 'kernel',
      sources: [],
      chain: opened.chain,
      id: opened.info.id,
      metadata: undefined,
      parent: undefined,
      parentId: undefined,
      parents: [],
      tracking: 'keep',
      mayBePinned: false,
      target: { path: target, ...file },
      encoding,
      pacing,
      limits,
    }
    this.#capture = new addon.Capture(
      plan,
      AsyncResource.bind((failure: NativeFailure | null, result?: NativeCaptureResult) =>
        this.#end(failure, result),
      ),
    )
    this.begin(this.#capture, options)
  }

  get progress(): SnapshotProgress {
    this.#capture?.progress(this.#counters)
    const [bytesDone = 0, bytesTotal = 0, bytesWritten = 0] = this.#counters
    const progress: SnapshotProgress = { bytesDone, bytesTotal, bytesWritten, copiedBytes: 0 }
    const etaMs = estimateMs(performance.now() - this.#startedAt, bytesDone, bytesTotal)
    if (etaMs !== undefined) progress.etaMs = etaMs
    return progress
  }

  #end(failure: NativeFailure | null, result?: NativeCaptureResult): void {
    this.#capture?.progress(this.#counters)
    this.#capture = undefined
    const { file, target, callSite } = this.#request
    if (result !== undefined && failure === null) this.complete(this.#resultOf(result))
    else if (failure?.failure === 'ABORTED') this.fail(abortError())
    // Only the files that are read can be damaged.
    else this.fail(fromNative(failure, failure?.failure === 'CORRUPT' ? file : target, callSite))
  }

  #resultOf(native: NativeCaptureResult): SnapshotResult {
    const byteLength = this.#request.opened.info.sections.reduce(
      (sum, section) => sum + section.byteLength,
      0,
    )
    return {
      id: idFromBytes(this.#request.opened.info.id),
      kind: 'full',
      path: this.#request.target,
      engine: 'none',
      faultHandling: 'kernel',
      byteLength,
      changedBytes: byteLength,
      scannedBytes: 0,
      fileSize: native.fileSize,
      allocatedBytes: native.allocatedBytes,
      pauseMs: 0,
      durationMs: native.durationMs,
      pages: { total: native.pagesTotal, zero: native.pagesZero, copied: 0 },
      copiedBytesPeak: 0,
    }
  }
}
