/**
 * The interface of the native addon (`native/addon/`), and nothing else: the one place where
 * TypeScript and C++ agree on names. Everything here is internal.
 *
 * The callers in `lib/` check the arguments; native code trusts their types, but never the contents
 * of a file. Native code reports a failure in one way only: it throws a {@link NativeFailure} or
 * passes one to a callback; `errors.ts` turns it into a `StillframeError`.
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
  /** True while a lazy restore has not filled all of its pages. */
  readonly filling: boolean
  /** True while writes to the region are recorded. */
  readonly tracked: boolean
  /**
   * Bytes in the units of 2 MiB that were written since the frame that the record begins with;
   * undefined without such a record.
   */
  readonly writtenBytes: number | undefined
  /** The buffer over the whole memory; always the same object. */
  buffer(): ArrayBufferLike
  /** Lets running captures preserve these bytes, so that the kernel can write there. */
  prepareWrite(byteOffset: number, byteLength: number): void
  /**
   * Detaches the buffer and releases the memory, which must not be busy. Shared memory lives on
   * until its last buffer is gone. Idempotent.
   */
  close(): void
}

/**
 * All members are always present: native code would look up a missing one in `Object.prototype`.
 */
export interface NativeSource {
  name: string
  /**
   * Set if the source is a region or a part of one, whose memory is pinned until the capture ends.
   */
  region: RegionHandle | undefined
  /**
   * Set unless the source is a whole region: a Uint8Array of length 1 (or 0 for an empty source) at
   * the first byte of the source. It only carries the address, since typed arrays end at 4 GiB on
   * Node 20 and sources do not. Together with `region` it denotes these bytes of that region.
   */
  head: Uint8Array | undefined
  byteLength: number
  /**
   * The mapping under the source is MADV_DONTFORK (V8's WebAssembly memories, resizable buffers).
   */
  dontFork: boolean
}

/** Method of freezing the memory; see docs/ENGINES.md. */
export type EngineName = 'userfaultfd' | 'mprotect' | 'fork'

/**
 * The handler of the first write to a frozen page: a `'thread'` of stillframe, a `'signal'` handler
 * on the writing thread, or the `'kernel'`. With `'signal'`, the kernel's own writes into a frozen
 * page (`fs.read`, sockets) fail with `EFAULT` unless `Region.prepareWrite()` announced them.
 */
export type FaultHandling = 'thread' | 'signal' | 'kernel'

/** Action when copy-on-write has taken `memoryLimit`. */
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

/** Encoding of the blocks in the file. */
export interface EncodingPlan {
  readonly codec: 'none' | 'zstd'
  /** Level of zstd; 0 without it. */
  readonly level: number
}

/** Throttling of the savers in favor of the service. */
export interface PacingPlan {
  /** Bytes per second written to the file; 0: no limit. */
  readonly maxBytesPerSecond: number
  /** Niceness, 0 to 19; a higher niceness of the service takes precedence. */
  readonly nice: number
}

/** Limits that end a job early. */
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
   * The engine to use, and the handler of its faults; `lib/machine/engines.ts` has already resolved
   * 'auto'.
   */
  engine: EngineName | 'none'
  faultHandling: FaultHandling
  sources: NativeSource[]
  /** From `openChain()`: the frame to save instead of sources, with engine 'none'. */
  chain: unknown
  /** 16 bytes. */
  id: Uint8Array
  /** JSON text, or undefined for none. */
  metadata: string | undefined
  /** The file to build on: only the differences from it are written, in a packed layout. */
  parent: string | undefined
  /** Id that the parent file must have, 16 bytes; undefined: any. */
  parentId: Uint8Array | undefined
  /**
   * Files and directories in which to look for the snapshots that the parent builds on; empty: next
   * to it.
   */
  parents: readonly string[]
  /**
   * Effect on the record of writes to the regions: it restarts with this frame, ends with it, or
   * continues unchanged.
   */
  tracking: 'start' | 'stop' | 'keep'
  /** A direct read may be filling a source, so no record can begin with this frame. */
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
  /** 16 bytes; undefined for a full file. */
  parentId: Uint8Array | undefined
}

/**
 * One capture. The constructor does all the work up to and including the freeze, on the calling
 * thread, and throws a NativeFailure if that fails. `onEnd` is called exactly once, later, on the
 * JS thread, but not once the environment is being torn down.
 */
export interface CaptureHandle {
  readonly pid: number
  /** Time of the freeze in milliseconds since the epoch, with fractions. */
  readonly frozenAtMs: number
  /**
   * Fills in [bytesDone, bytesTotal, bytesWritten, copiedBytes]. Reads shared memory: no system
   * call.
   */
  progress(into: Float64Array): void
  /**
   * Asks the capture to stop; `onEnd` then reports ABORTED, unless the capture has already ended.
   */
  abort(): void
}

/** A cancellation flag and progress counters shared with one running read job. */
export interface ReadJob {
  /** Asks the job to stop: its callback then gets an ABORTED failure. */
  cancel(): void
  /** Fills in [bytesDone, bytesTotal]. */
  progress(into: Float64Array): void
}

/**
 * Existing memory to fill instead of fresh memory. All members are always present, as in a
 * {@link NativeSource}.
 */
export interface NativeDestination {
  name: string
  /** The region to fill from its first byte. The reading thread fills it itself. */
  region: RegionHandle | undefined
  /**
   * Used without a region, when the memory belongs to JS and may be detached at any moment. For
   * each chunk, the reading thread therefore asks, on the JS thread, where the memory is at that
   * moment. The answer is a view of as many bytes, which are filled before anything else happens on
   * that thread. The next call comes after `done` was called. If this throws, the restore ends.
   */
  onChunk: ((byteOffset: number, byteLength: number, done: () => void) => Uint8Array) | undefined
}

export interface InspectPlan {
  path: string
  /** Files and directories in which to look for parents; empty: next to each file. */
  parents: readonly string[]
  limits: NativeReadLimits
}

export interface ComparePlan {
  from: string
  to: string
  parents: readonly string[]
  limits: NativeReadLimits
  /** Maximum number of pieces that each section is divided into. */
  pieces: number
}

/** Differences between two frames in one section. */
export interface SectionDifference {
  name: string
  /** Undefined if the frame does not have the section. */
  fromBytes: number | undefined
  toBytes: number | undefined
  changedPages: number
  pagesPerPiece: number
  /** Number of pages that differ in each piece of the longer section. */
  pieces: number[]
}

export interface RestorePlan extends ChainPlan {
  /** 'any': a mapping of a flat file, or a copy of a packed one. */
  mode: 'any' | 'map' | 'copy'
  verify: boolean
  /** Reads the pages of mappings in the background. */
  prefetch: boolean
  /** Names to restore; undefined for all. */
  sections: string[] | undefined
  /** Maximum total size of the sections, in bytes; 0: no limit. A larger restore is refused. */
  maxBytes: number
  /**
   * Existing memory to fill, by section; checked against the file's sections before any byte is
   * filled.
   */
  into: (NativeDestination & { byteLength: number })[]
}

export interface RestoredSection {
  name: string
  /** Undefined if the section was restored into memory named in `into`. */
  region: RegionHandle | undefined
}

export interface NativeRestored {
  info: ImageInfo
  /** True if the regions are mappings of the file. */
  mapped: boolean
  sections: RestoredSection[]
}

/** Location of the bytes of a frame. */
export interface ChainPlan {
  /**
   * The file, and where to look for the snapshots that it builds on; with `files`, '' and empty.
   */
  path: string
  parents: readonly string[]
  limits: NativeReadLimits
  /** The files of a chain whose bytes are requested through `onRead`, newest first. */
  files: readonly { name: string; byteLength: number }[]
  /**
   * Used with `files`: must call `answer` once, now or later, on this thread, either with all of
   * these bytes, or with the reason why they are missing and whether that is damage.
   */
  onRead: ((file: number, offset: number, length: number, answer: RangeAnswer) => void) | undefined
}

/** A restore that hands out its memory at once. */
export interface LazyPlan extends ChainPlan {
  /**
   * Called when the memory can be handed out: adoptLazily() accepts the number, on any thread of
   * the process.
   */
  onOpen: (number: number) => void
  verify: boolean
  sections: string[] | undefined
  maxBytes: number
  /** Blocks that are fetched first in the background. */
  firstUses: readonly NativeFirstUse[]
}

/** Identifies a block; its offset is a multiple of 256 KiB. */
export interface NativeFirstUse {
  readonly section: string
  /** Bytes from the start of the section. */
  readonly offset: number
}

export type RangeAnswer = (bytes: Uint8Array | undefined, reason?: string, isDamage?: boolean) => void

export interface NativeLazyRestored extends NativeRestored {
  /** Ends the filling at once. Pages that are not there by then cannot be touched. Idempotent. */
  cancel(): void
  /** In order of use: the blocks of the plan, then those that a thread had to wait for. */
  firstUses(): NativeFirstUse[]
  /** Same as {@link ReadJob.progress}. */
  progress(into: Float64Array): void
}

export interface VerifyPlan {
  path: string
  parents: readonly string[]
  /** Number of problems after which to stop. */
  maxProblems: number
  limits: NativeReadLimits
}

export interface FeatureProbe<Name extends string = string> {
  name: Name
  available: boolean
  /** Reason why it is not available, and what to change; '' if it is available. */
  reason: string
  /** True if it is unavailable for a reason that may be gone at the next attempt. */
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
   * Bytes of the blocks of the sources that contain a resident page: the maximum that the file will
   * contain, without its index.
   */
  storedBytes: number
  hazards: { code: string; message: string }[]
}

type Callback<T> = (failure: NativeFailure | null, value?: T) => void

export interface Addon {
  /**
   * @param makeSharedBuffer - the function of the heap addon; if given, the buffer becomes a
   *   SharedArrayBuffer.
   */
  RegionHandle: new (
    byteLength: number,
    hugePages: boolean,
    makeSharedBuffer: ((share: unknown) => SharedArrayBuffer) | undefined,
  ) => RegionHandle
  Capture: new (
    plan: CapturePlan,
    onEnd: (failure: NativeFailure | null, result?: NativeCaptureResult) => void,
  ) => CaptureHandle
  /** Reads the header, sections, metadata and index, but no page data. */
  inspect(plan: InspectPlan, callback: Callback<ImageInfo>): ReadJob
  /** Checks every byte. Damage is reported; FORMAT, VERSION, PARENT and IO are failures. */
  verify(
    plan: VerifyPlan,
    callback: Callback<{ problems: ImageProblem[]; info: ImageInfo | undefined }>,
  ): ReadJob
  restore(plan: RestorePlan, callback: Callback<NativeRestored>): ReadJob
  /**
   * The callback is called when all pages are there, or never will be; `plan.onOpen` when the
   * memory can be handed out.
   */
  restoreLazily(plan: LazyPlan, callback: Callback<undefined>): ReadJob
  /** Returns the memory of a restoreLazily(), to the first caller only. */
  adoptLazily(number: number): NativeLazyRestored | undefined
  /** Compares two frames by the sums of their pages; no page data is read. */
  compare(plan: ComparePlan, callback: Callback<SectionDifference[]>): ReadJob
  /**
   * Opens a frame with all the files that it builds on. They stay open as long as `chain` lives.
   */
  openChain(plan: InspectPlan, callback: Callback<{ chain: unknown; info: ImageInfo }>): ReadJob
  /**
   * Calls flock(2) on an open descriptor, without waiting. The lock is held until every copy of the
   * descriptor is closed.
   *
   * @returns false if another holder has an incompatible lock.
   */
  flock(fd: number, kind: 'shared' | 'exclusive'): boolean
  capabilities(): NativeCapabilities
  /**
   * Reports only what the choice of an engine depends on, because the first capture pays for it in
   * its pause.
   */
  engines(): Pick<NativeCapabilities, 'engines' | 'features'>
  /**
   * Describes the descriptors that direct reads, which fill memory past its page table, can come
   * from; '' if none are open. It checks every descriptor.
   */
  directReads(): string
  /** Throws the errors that a capture to this path would throw. */
  checkTarget(path: string, options: Pick<TargetPlan, 'overwrite'>): void
  preflight(sources: NativeSource[], directory: string): NativePreflight
  /** Process-wide state, to be shared with the other addon. */
  readonly processState: unknown
  /**
   * True if all of the memory that begins with this byte is MADV_DONTFORK. It reads
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
