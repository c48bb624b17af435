/**
 * The shape of the native addon (`native/addon/`), and nothing else: the one place where TypeScript
 * and C++ agree on names. Everything here is internal.
 *
 * Arguments are checked by the callers in `lib/`; native code trusts the types, but never the
 * contents of a file. Native code reports a failure in one way only: it throws a {@link
 * NativeFailure}, or passes one to a callback; `errors.ts` turns it into a `StillframeError`.
 */

import type { NativeFailure } from '../base/native-failure.js'
import type { ImageInfo, ImageProblem } from '../image/info.js'
import type { NativeReadLimits } from '../image/limits.js'

export type { ImageInfo, ImageProblem, ImageSection } from '../image/info.js'
export type { NativeReadLimits } from '../image/limits.js'

/**
 * The memory of a region. It lives until its handle is closed and no ArrayBuffer or capture refers
 * to it.
 */
export interface RegionHandle {
  readonly byteLength: number
  /** True while a capture (or a restore into it) uses the memory. */
  readonly busy: boolean
  /** True while pages of it are still to come, of a lazy restore. */
  readonly filling: boolean
  /** True while a record is kept of what is written to it. */
  readonly tracked: boolean
  /**
   * Bytes of the units of 2 MiB that were written since the frame that the record begins with;
   * undefined if there is no such record.
   */
  readonly writtenBytes: number | undefined
  /** The buffer over the whole memory; always the same object. */
  buffer(): ArrayBufferLike
  /** Lets running captures keep these bytes, so that the kernel can write there. */
  prepareWrite(byteOffset: number, byteLength: number): void
  /**
   * Detaches the buffer and gives the memory up, which must not be busy. Shared memory lives on until its last buffer is
   * gone. Idempotent.
   */
  close(): void
}

/**
 * All members are always present: native code would look up a missing one in `Object.prototype`.
 */
export interface NativeSource {
  name: string
  /**
   * Set if the source is a region or a part of one: its memory is pinned until the capture ends.
   */
  region: RegionHandle | undefined
  /**
   * Set unless the source is a whole region: a Uint8Array of length 1 (or 0 for an empty source) at
   * the first byte of the source. It only carries the address: typed arrays end at 4 GiB on Node
   * 20, and sources do not. Together with `region` it stands for these bytes of that region.
   */
  head: Uint8Array | undefined
  byteLength: number
  /**
   * The mapping under the source is MADV_DONTFORK (V8's WebAssembly memories, resizable buffers).
   */
  dontFork: boolean
}

/** How the memory is frozen; see docs/ENGINES.md. */
export type EngineName = 'userfaultfd' | 'mprotect' | 'fork'

/**
 * What answers the first write to a frozen page: a `'thread'` of stillframe, a `'signal'` handler
 * on the writing thread, or the `'kernel'`. With `'signal'` the kernel's own writes into a frozen
 * page (`fs.read`, sockets) fail with `EFAULT` unless `Region.prepareWrite()` announced them.
 */
export type FaultHandling = 'thread' | 'signal' | 'kernel'

/** What to do when copy-on-write has taken `memoryLimit`. */
export type MemoryLimitAction = 'wait' | 'abort'

/** The file to publish. */
export interface TargetPlan {
  /** Absolute. */
  readonly path: string
  readonly overwrite: boolean
  /** Permission bits. */
  readonly mode: number
  readonly durable: boolean
}

/** How its blocks are written. */
export interface EncodingPlan {
  readonly codec: 'none' | 'zstd'
  /** Level of zstd; 0 without it. */
  readonly level: number
}

/** What the savers leave to the service. */
export interface PacingPlan {
  /** Bytes per second to the file; 0: no limit. */
  readonly maxBytesPerSecond: number
  /** Niceness, 0 to 19, unless the service's is higher. */
  readonly nice: number
}

/** What ends a job before its time. */
export interface LimitsPlan {
  /** Bytes; 0 asks for the default (half of the memory available when the job starts). */
  readonly memoryLimit: number
  /** Fork always aborts. */
  readonly onMemoryLimit: MemoryLimitAction
  readonly stallTimeoutMs: number
  /** 0: none. */
  readonly timeoutMs: number
}

export interface CapturePlan {
  /**
   * The engine to use, and what answers its faults; `lib/machine/engines.ts` has resolved 'auto'
   * already.
   */
  engine: EngineName | 'none'
  faultHandling: FaultHandling
  sources: NativeSource[]
  /** From `openChain()`: what is saved in the place of sources, with engine 'none'. */
  chain: unknown
  /** 16 bytes. */
  id: Uint8Array
  /** JSON text, or undefined for none. */
  metadata: string | undefined
  /** The file to build on: only what differs from it is written, in a packed layout. */
  parent: string | undefined
  /** 16 bytes that this file must have as its id; undefined: any. */
  parentId: Uint8Array | undefined
  /** Files and directories to look in for what that builds on; none: beside it. */
  parents: readonly string[]
  /**
   * What becomes of the record of what is written to the regions: it begins anew with this frame,
   * ends with it, or goes on as it is.
   */
  tracking: 'start' | 'stop' | 'keep'
  /** A direct read may be filling a source: the frame is no beginning of a record. */
  mayBePinned: boolean
  target: TargetPlan
  encoding: EncodingPlan
  pacing: PacingPlan
  limits: LimitsPlan
}

export interface NativeCaptureResult {
  fileSize: number
  allocatedBytes: number
  durationMs: number
  pagesTotal: number
  pagesZero: number
  pagesCopied: number
  copiedBytesPeak: number
  changedBytes: number
  scannedBytes: number
  /** 16 bytes; undefined: a full file. */
  parentId: Uint8Array | undefined
}

/**
 * One capture. The constructor does all the work up to and including the freeze, on the calling
 * thread, and throws a NativeFailure if that fails. `onEnd` is called exactly once, later, on the
 * JS thread; it is not called any more once the environment is being torn down.
 */
export interface CaptureHandle {
  readonly pid: number
  /** Milliseconds since the epoch at the freeze, with fractions. */
  readonly frozenAtMs: number
  /**
   * Fills [bytesDone, bytesTotal, bytesWritten, copiedBytes]. Reads shared memory: no system call.
   */
  progress(into: Float64Array): void
  /** Asks the capture to stop; `onEnd` then reports ABORTED (unless it had ended already). */
  abort(): void
}

/** A cancellation flag and progress counters shared with one running read job. */
export interface ReadJob {
  /** Asks the job to stop: its callback then gets an ABORTED failure. */
  cancel(): void
  /** Fills [bytesDone, bytesTotal]. */
  progress(into: Float64Array): void
}

/**
 * Existing memory to fill instead of fresh memory. All members are always present, as in a {@link
 * NativeSource}.
 */
export interface NativeDestination {
  name: string
  /** The region to fill from its first byte; filled by the reading thread itself. */
  region: RegionHandle | undefined
  /**
   * Without a region the memory is JS's own and may be detached at any moment. So for each chunk
   * the reading thread asks, on the JS thread, where the memory is at that moment: a view of as
   * many bytes, which are filled before anything else happens there. The next call comes after
   * `done` was called. If this throws, the restore ends.
   */
  onChunk: ((byteOffset: number, byteLength: number, done: () => void) => Uint8Array) | undefined
}

export interface InspectPlan {
  path: string
  /** Files and directories to look for parents in; none: beside each file. */
  parents: readonly string[]
  limits: NativeReadLimits
}

export interface ComparePlan {
  from: string
  to: string
  parents: readonly string[]
  limits: NativeReadLimits
  /** Into how many pieces each section is divided at most. */
  pieces: number
}

/** How a section of two frames differs. */
export interface SectionDifference {
  name: string
  /** Undefined: the frame does not have it. */
  fromBytes: number | undefined
  toBytes: number | undefined
  changedPages: number
  pagesPerPiece: number
  /** Pages that differ, of each piece of the longer one. */
  pieces: number[]
}

export interface RestorePlan extends ChainPlan {
  /** 'any': a mapping of a flat file, a copy of a packed one. */
  mode: 'any' | 'map' | 'copy'
  verify: boolean
  /** Read the pages of mappings in the background. */
  prefetch: boolean
  /** Names to restore; undefined for all. */
  sections: string[] | undefined
  /** The restore is refused if its sections add up to more; 0: no limit. */
  maxBytes: number
  /**
   * Existing memory to fill, by section; checked against the file's sections before a byte is
   * filled.
   */
  into: (NativeDestination & { byteLength: number })[]
}

export interface RestoredSection {
  name: string
  /** Undefined if the section went into memory named in `into`. */
  region: RegionHandle | undefined
}

export interface NativeRestored {
  info: ImageInfo
  /** Whether the regions are mappings of the file. */
  mapped: boolean
  sections: RestoredSection[]
}

/** Where the bytes of a frame are. */
export interface ChainPlan {
  /** The file, and where to look for what it builds on; '' and none with `files`. */
  path: string
  parents: readonly string[]
  limits: NativeReadLimits
  /** The files of a chain whose bytes are asked for, from the newest on. */
  files: readonly { name: string; byteLength: number }[]
  /**
   * With `files`: has to call `answer` once, now or later, on this thread, with all of these bytes, or else with the reason
   * why there are none, and whether that is damage.
   */
  onRead: ((file: number, offset: number, length: number, answer: RangeAnswer) => void) | undefined
}

/** A restore whose memory is there at once. */
export interface LazyPlan extends ChainPlan {
  /** The memory is there: adoptLazily() takes the number, on any thread of the process. */
  onOpen: (number: number) => void
  verify: boolean
  sections: string[] | undefined
  maxBytes: number
  /** What the background begins with. */
  firstUses: readonly NativeFirstUse[]
}

/** Of a block: its offset is a multiple of 256 KiB. */
export interface NativeFirstUse {
  readonly section: string
  /** Bytes. */
  readonly offset: number
}

export type RangeAnswer = (bytes: Uint8Array | undefined, reason?: string, isDamage?: boolean) => void

export interface NativeLazyRestored extends NativeRestored {
  /** Ends the filling at once. What is not there can then not be touched. Idempotent. */
  cancel(): void
  /** In the order of use: those of the plan, and then those that somebody had to wait for. */
  firstUses(): NativeFirstUse[]
  /** As that of a ReadJob. */
  progress(into: Float64Array): void
}

export interface VerifyPlan {
  path: string
  parents: readonly string[]
  /** The number of problems after which to stop. */
  maxProblems: number
  limits: NativeReadLimits
}

export interface FeatureProbe<Name extends string = string> {
  name: Name
  available: boolean
  /** Why it is not available, and what to change. '' if it is. */
  reason: string
  /** It is unavailable for a reason that may be gone at the next try. */
  passing: boolean
}

export interface NativeCapabilities {
  kernel: string
  pageSize: number
  engines: FeatureProbe<EngineName>[]
  /** userfaultfd_thread, userfaultfd_signal, clone3, close_range, huge_pages, … */
  features: FeatureProbe[]
  hazards: { code: string; message: string }[]
}

export interface NativePreflight {
  availableBytes: number
  freeDiskBytes: number
  /** Resident bytes of the sources. */
  residentBytes: number
  /**
   * Bytes of those of their blocks that have a resident page: the most that the file will hold,
   * without its index.
   */
  storedBytes: number
  hazards: { code: string; message: string }[]
}

type Callback<T> = (failure: NativeFailure | null, value?: T) => void

export interface Addon {
  /** @param makeSharedBuffer - that of the heap addon: makes the buffer a SharedArrayBuffer. */
  RegionHandle: new (
    byteLength: number,
    hugePages: boolean,
    makeSharedBuffer: ((share: unknown) => SharedArrayBuffer) | undefined,
  ) => RegionHandle
  Capture: new (
    plan: CapturePlan,
    onEnd: (failure: NativeFailure | null, result?: NativeCaptureResult) => void,
  ) => CaptureHandle
  /** Reads header, sections, metadata and index; no page data. */
  inspect(plan: InspectPlan, callback: Callback<ImageInfo>): ReadJob
  /** Checks every byte. Damage is reported; FORMAT, VERSION and I/O errors fail. */
  verify(
    plan: VerifyPlan,
    callback: Callback<{ problems: ImageProblem[]; info: ImageInfo | undefined }>,
  ): ReadJob
  restore(plan: RestorePlan, callback: Callback<NativeRestored>): ReadJob
  /** The callback comes when all pages are there, or never will be. The memory is there when `plan.onOpen` is called. */
  restoreLazily(plan: LazyPlan, callback: Callback<undefined>): ReadJob
  /** The memory of a restoreLazily(), for the first who asks. */
  adoptLazily(number: number): NativeLazyRestored | undefined
  /** Compares two frames by the sums of their pages; no page data is read. */
  compare(plan: ComparePlan, callback: Callback<SectionDifference[]>): ReadJob
  /** Opens a frame with all that it builds on. It stays open for as long as `chain` lives. */
  openChain(plan: InspectPlan, callback: Callback<{ chain: unknown; info: ImageInfo }>): ReadJob
  /**
   * flock(2) on an open descriptor, without waiting. It holds until every copy of the descriptor is
   * closed.
   *
   * @returns false if somebody else holds a lock that does not go with it.
   */
  flock(fd: number, kind: 'shared' | 'exclusive'): boolean
  capabilities(): NativeCapabilities
  /**
   * Only what the choice of an engine depends on, since the first capture pays for it in its pause.
   */
  engines(): Pick<NativeCapabilities, 'engines' | 'features'>
  /**
   * What direct reads, which fill memory past its page table, may come from; '' if nothing of that
   * kind is open. It asks every descriptor.
   */
  directReads(): string
  /** Throws what a capture to this path would throw. */
  checkTarget(path: string, options: Pick<TargetPlan, 'overwrite'>): void
  preflight(sources: NativeSource[], directory: string): NativePreflight
  /** What the process has only one of, for the other addon. */
  readonly processState: unknown
  /**
   * True if all of the memory that begins with this byte is MADV_DONTFORK. It walks
   * /proc/self/smaps, which is slow.
   */
  isDontFork(head: Uint8Array, byteLength: number): boolean
  /**
   * For tests only: makes the nth (from 1) and, with `forever`, each later `syscall` fail with
   * errno.
   */
  injectFault(syscall: string, nth: number, errno: number, forever: boolean): void
  /**
   * For tests only: removes all faults, and returns how often each named call was reached since.
   */
  clearFaults(): Record<string, number>
}
