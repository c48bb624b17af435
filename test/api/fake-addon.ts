/**
 * Replaces the native addon in tests that decide when and how a capture or a read ends. It has no
 * memory of its own and writes no file. `vi.mock('../../lib/addon/load.js')` substitutes it for the
 * real addon.
 */

import type {
  Addon,
  CaptureHandle,
  CapturePlan,
  ImageInfo,
  ImageProblem,
  NativeCapabilities,
  NativeCaptureResult,
  NativePreflight,
  NativeRestored,
  NativeSource,
  ReadJob,
  RegionHandle,
  RestorePlan,
  VerifyPlan,
} from '../../lib/addon/addon.js'
import type { NativeFailure } from '../../lib/base/native-failure.js'

type OnEnd = (failure: NativeFailure | null, result?: NativeCaptureResult) => void

/** A failure as native code reports it. */
export function nativeFailure(failure: string, details: Partial<NativeFailure> = {}): NativeFailure {
  const defaults = { errno: 0, errnoName: '', syscall: '', offset: -1, section: '' }
  return Object.assign(new Error(details.message ?? 'it failed'), defaults, details, { failure })
}

export const captureResult: NativeCaptureResult = {
  fileSize: 8192,
  allocatedBytes: 4096,
  durationMs: 5,
  pagesTotal: 3,
  pagesZero: 2,
  pagesCopied: 1,
  copiedBytesPeak: 4096,
  changedBytes: 12_288,
  scannedBytes: 0,
  parentId: undefined,
}

export class FakeRegion implements RegionHandle {
  busy = false
  filling = false
  tracked = false
  readonly writtenBytes = undefined
  readonly byteLength: number
  #buffer: ArrayBuffer

  constructor(byteLength: number) {
    this.byteLength = byteLength
    this.#buffer = new ArrayBuffer(byteLength)
  }

  prepareWrite(): void {}

  buffer(): ArrayBuffer {
    return this.#buffer
  }

  close(): void {
    structuredClone(this.#buffer, { transfer: [this.#buffer] })
  }
}

/** A capture that runs until the test ends it. */
export class FakeCapture implements CaptureHandle {
  static last: FakeCapture
  readonly pid = 1
  readonly frozenAtMs = 1_700_000_000_000.5
  plan: CapturePlan
  counters = [0, 100, 0, 0]
  abortsAsked = 0
  ended = false
  readonly #onEnd: OnEnd

  constructor(plan: CapturePlan, onEnd: OnEnd) {
    this.plan = plan
    this.#onEnd = onEnd
    FakeCapture.last = this
  }

  /** Releases the sources, since native code has only their addresses. */
  forgetPlan(): void {
    this.plan = { ...this.plan, sources: [] }
  }

  progress(into: Float64Array): void {
    into.set(this.counters)
  }

  abort(): void {
    this.abortsAsked++
    setImmediate(() => this.fail(nativeFailure('ABORTED')))
  }

  succeed(): void {
    if (this.ended) return
    this.ended = true
    this.counters = [100, 100, 8192, 4096]
    this.#onEnd(null, captureResult)
  }

  fail(failure: NativeFailure): void {
    if (this.ended) return
    this.ended = true
    this.#onEnd(failure)
  }
}

type Callback<Value> = (failure: NativeFailure | null, value?: Value) => void

/** A read job that runs until the test ends it. */
export class FakeJob<Value> implements ReadJob {
  counters = [0, 10]
  cancels = 0
  readonly #callback: Callback<Value>

  constructor(callback: Callback<Value>) {
    this.#callback = callback
  }

  cancel(): void {
    this.cancels++
    setImmediate(() => this.fail(nativeFailure('ABORTED')))
  }

  progress(into: Float64Array): void {
    into.set(this.counters)
  }

  succeed(value: Value): void {
    this.#callback(null, value)
  }

  fail(failure: NativeFailure): void {
    this.#callback(failure)
  }
}

export const image: ImageInfo = {
  id: Uint8Array.from({ length: 16 }, (_, index) => index),
  parentId: undefined,
  versionMajor: 1,
  versionMinor: 0,
  layout: 'flat',
  frozenAtMs: 1_700_000_000_000,
  pageSize: 4096,
  blockSize: 262_144,
  fileSize: 10_000,
  allocatedBytes: 8192,
  metadata: '{"epoch":7}',
  sections: [
    { name: 'main', byteLength: 8, storedBytes: 8, fileOffset: 65_536 },
    { name: 'index', byteLength: 16, storedBytes: 0, fileOffset: 131_072 },
  ],
}

type OpenedChain = { chain: unknown; info: ImageInfo }

/** The fake addon, which records its arguments. */
export class FakeAddon {
  inspectJob: FakeJob<ImageInfo> | undefined
  verifyJob: FakeJob<{ problems: ImageProblem[]; info: ImageInfo | undefined }> | undefined
  restoreJob: FakeJob<NativeRestored> | undefined
  openChainJob: FakeJob<OpenedChain> | undefined
  restorePlan: RestorePlan | undefined
  verifyPlan: VerifyPlan | undefined
  /** Immediate answer of `inspect`; if undefined, the test ends the job. */
  image: ImageInfo | undefined = image
  dontForkAsked: Uint8Array[] = []
  dontFork = false
  preflightAsked: NativeSource[][] = []
  captureFailure: NativeFailure | undefined

  asAddon(): Addon {
    const fake = this
    class Capture extends FakeCapture {
      constructor(plan: CapturePlan, onEnd: OnEnd) {
        if (fake.captureFailure !== undefined) throw fake.captureFailure
        super(plan, onEnd)
      }
    }
    return {
      RegionHandle: FakeRegion,
      Capture,
      inspect(_plan, callback) {
        const job = new FakeJob<ImageInfo>(callback)
        fake.inspectJob = job
        const answer = fake.image
        if (answer !== undefined) setImmediate(() => job.succeed(answer))
        return job
      },
      verify(plan, callback) {
        fake.verifyPlan = plan
        const job = new FakeJob(callback)
        fake.verifyJob = job
        return job
      },
      restore(plan, callback) {
        fake.restorePlan = plan
        const job = new FakeJob(callback)
        fake.restoreJob = job
        return job
      },
      restoreLazily: (_plan, callback) => new FakeJob<undefined>(callback),
      adoptLazily: () => undefined,
      compare: (_plan, callback) => new FakeJob(callback),
      openChain(_plan, callback) {
        const job = new FakeJob<OpenedChain>(callback)
        fake.openChainJob = job
        return job
      },
      capabilities: (): NativeCapabilities => ({
        kernel: '6.1.0',
        pageSize: 4096,
        engines: [{ name: 'fork', available: true, reason: '', passing: false }],
        features: [{ name: 'clone3', available: false, reason: 'filtered', passing: false }],
        hazards: [{ code: 'OVERCOMMIT_STRICT', message: 'vm.overcommit_memory is 2' }],
      }),
      engines: () => ({
        engines: [{ name: 'fork', available: true, reason: '', passing: false }],
        features: [],
      }),
      directReads: () => '',
      checkTarget() {},
      preflight(sources): NativePreflight {
        fake.preflightAsked.push(sources)
        const residentBytes = sources.reduce((sum, { byteLength }) => sum + byteLength, 0)
        return {
          availableBytes: 1000,
          freeDiskBytes: 2000,
          residentBytes,
          storedBytes: residentBytes,
          hazards: [],
        }
      },
      flock() {
        return true
      },
      isDontFork(head) {
        fake.dontForkAsked.push(head)
        return fake.dontFork
      },
      processState: undefined,
      injectFault: () => {},
      clearFaults: () => ({}),
    }
  }
}

/** The last capture's plan. */
export function lastPlan(): CapturePlan {
  return FakeCapture.last.plan
}

/** Lets pending callbacks and promise reactions run. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve))
}
