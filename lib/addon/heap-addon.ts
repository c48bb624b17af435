/**
 * The second native addon, stillframe_heap.node (`native/heap/`): its interface, and the search for
 * its binary.
 *
 * It uses V8 directly and is compiled for one major version of Node. If the environment variable
 * STILLFRAME_HEAP_ADDON names a file, only that is tried. Otherwise these are tried in order: the
 * prebuilt binary for this version of Node; the result of a source build in source/build/Release.
 * In a checkout only its own build is tried.
 */

import { join } from 'node:path'
import process from 'node:process'
import { threadId } from 'node:worker_threads'
import { messageOf, StillframeError } from '../base/errors.js'
import type { NativeFailure } from '../base/native-failure.js'
import type { Addon, LimitsPlan, PacingPlan, TargetPlan } from './addon.js'
import { checkPlatform, describePlatform, loadAddon, prebuilt, tryFile } from './load.js'
import { packageRoot, sourceRoot } from './package-root.js'
import { addonVariable } from './privileges.js'

/** Metadata of a heap summary, and whether it is redacted. */
export interface SummaryPlan {
  trigger: string
  /** Process id of the service, not of the copy. */
  pid: number
  thread: number
  redact: boolean
}

/** Work for a forked copy. */
export interface ForkPlan {
  target: TargetPlan
  pacing: PacingPlan
  limits: LimitsPlan
  /** The output of the copy is read from `takeStream()`; the target is ignored. */
  toStream: boolean
  /** `threadId` of the Worker whose heap is captured; 0 for this thread's heap. */
  thread: number
  /** For heap snapshots: the service's V8 assigns the ids and keeps them. */
  stableIds: boolean
  /** For heap snapshots: omits the contents of strings from the file. */
  redact: boolean
  /** For heap summaries; undefined for other jobs. */
  summary: SummaryPlan | undefined
  /**
   * Runs in the copy. It passes bytes for the file to `emit`, which returns false if they cannot be
   * written, and the serialized exception to `fail`. Undefined: the job takes a heap snapshot or
   * writes a summary.
   */
  run: ((emit: (bytes: Uint8Array) => boolean, fail: (bytes: Uint8Array) => void) => void) | undefined
}

/** Result of a completed job. */
export interface NativeForkResult {
  fileSize: number
  allocatedBytes: number
  durationMs: number
  childBytesPeak: number
}

/** Breakdown of the pause, in milliseconds. */
export interface PauseParts {
  /** Waiting for V8's worker threads to stop. */
  parkMs: number
  /** For heap snapshots with `stableIds`: assigning ids to the objects. */
  idsMs: number
  /** Finding the memory that belongs to V8. */
  mappingsMs: number
  /** Including V8's memory in forks. */
  flipMs: number
  forkMs: number
  /** Excluding V8's memory from child processes again. */
  restoreMs: number
}

/** A running job. */
export interface ForkJobHandle {
  /** Process id of the forked copy. */
  readonly pid: number
  /** 0 while a Worker has not been reached yet. */
  readonly frozenAtMs: number
  readonly times: PauseParts
  /**
   * Fills in [bytes written, steps of V8's walk done, steps in all (0: unknown), bytes of the
   * copy's own memory].
   */
  progress(into: Float64Array): void
  abort(): void
  /**
   * Returns the descriptor of the pipe that the copy writes to; the caller owns it from then on.
   */
  takeStream(): number
  /**
   * After the end: true if the copy waited for a lock that a thread of the service held at the
   * fork.
   */
  readonly heldLock: boolean
  /** After the end: true if `timeoutMs` had elapsed. */
  readonly outOfTime: boolean
  /** After the end: the exception of the callback, as `run` serialized it. */
  failure(): Uint8Array
}

/** Callbacks by which the serializer asks about the objects that it encounters. */
export interface SerializeRules {
  /** True if an object that has a class would lose all of its state. Not called on Node 20. */
  hasNoState(object: object): boolean
  /** The number of the view's type in the file, or the reason why the view cannot be written. */
  typeOfView(view: NodeJS.ArrayBufferView): number | string
  /** The buffer of a view whose type number says that it shares the buffer with other views. */
  bufferOf(view: NodeJS.ArrayBufferView): ArrayBuffer
}

/** A value as serialized by V8. */
export interface SerializedValue {
  payload: ArrayBuffer
  /** Maximum nesting depth of containers. */
  depth: number
  /** True if the value contains ArrayBuffers themselves. */
  hasArrayBuffers: boolean
}

/** Conditions that trigger a watch over memory; 0 and false disable a condition. */
export interface MemoryWatchTriggers {
  nearHeapLimit: boolean
  heapUsedBytes: number
  heapUsedPercent: number
  rssBytes: number
  cgroupPercent: number
  pressurePercent: number
}

export interface MemoryWatchPlan {
  /** The path of the target is the directory. */
  target: TargetPlan
  pacing: PacingPlan
  limits: LimitsPlan
  triggers: MemoryWatchTriggers
  /** Process and thread, for file names. */
  owner: string
  thread: number
  /** Limit of a Worker's old generation, in bytes; 0 for the main thread. */
  oldGenerationLimit: number
  everyMs: number
  coolDownMs: number
  redact: boolean
  /** Writes a summary if there is not enough memory for a heap snapshot. */
  summarize: boolean
}

/** Memory that a heap snapshot needs, and memory that is available. */
export interface NativeHeapNeed {
  heapBytes: number
  neededBytes: number
  availableBytes: number
}

export interface NativeWatchEvent extends NativeHeapNeed {
  kind: 'started' | 'ended' | 'failed' | 'too-big'
  trigger: 'near-heap-limit' | 'heap' | 'rss' | 'cgroup' | 'pressure'
  path: string
  /** True if the file at the path is, or will be, a summary. */
  isSummary: boolean
  /**
   * Path of the heap snapshot that was begun before the summary, and that `failure` refers to;
   * otherwise empty.
   */
  insteadOf: string
  /** Process id of the copy. */
  pid: number
  pauseMs: number
  fileSize: number
  durationMs: number
  failure: NativeFailure | undefined
}

export interface MemoryWatchHandle {
  stop(): void
}

export interface HeapAddon {
  ForkJob: new (
    plan: ForkPlan,
    onEnd: (failure: NativeFailure | null, result?: NativeForkResult) => void,
  ) => ForkJobHandle
  MemoryWatch: new (plan: MemoryWatchPlan, onEvent: (event: NativeWatchEvent) => void) => MemoryWatchHandle
  /** @param memoryLimit - bytes that the copy may take; 0: what is left. */
  needOfHeapSnapshot(memoryLimit: number): NativeHeapNeed & { fits: boolean }
  /**
   * Serializes into at most `limit` bytes. A returned string says why the value cannot be written,
   * as the rest of a sentence that begins with "the value". Rethrows exceptions of getters.
   */
  serializeValue(value: unknown, rules: SerializeRules, limit: number): SerializedValue | string
  /**
   * Makes a SharedArrayBuffer over the memory of a region, for the RegionHandle of the other addon,
   * which made `share`.
   */
  makeSharedBuffer(share: unknown): SharedArrayBuffer
  /** Receives the other addon's process-wide state and the number of this thread; called once. */
  shareProcessState(state: unknown, threadId: number): void
  /** Returns the name of the script that a function comes from. */
  scriptOf(of: unknown): string | undefined
  /** For tests only: the same as in the other addon, for the system calls of this one. */
  injectFault: Addon['injectFault']
  clearFaults: Addon['clearFaults']
  /** For tests only: keeps one of V8's threads busy between these two calls. */
  holdWorker: () => void
  releaseWorker: () => void
}

let loaded: HeapAddon | undefined

/**
 * Returns the addon for this version of Node; loaded once per thread.
 *
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_PLATFORM`; `ERR_STILLFRAME_ABI` if there is
 *   none.
 */
export function loadHeapAddon(): HeapAddon {
  loaded ??= load()
  return loaded
}

/** @internal The reason why `stillframe/heap` cannot be used here; undefined if it can. */
export function whyNoHeapAddon(): string | undefined {
  try {
    loadHeapAddon()
    return undefined
  } catch (error) {
    return messageOf(error)
  }
}

function load(): HeapAddon {
  checkPlatform()
  const [major] = process.versions.node.split('.')
  const explicit = addonVariable('STILLFRAME_HEAP_ADDON')
  const files = explicit ? [explicit] : filesOfPackage(`stillframe_heap-node${major}.node`)
  const outcomes: string[] = []
  for (const file of files) {
    const { exports, outcome } = tryFile(file)
    const { ForkJob, serializeValue } = (exports ?? {}) as Partial<HeapAddon>
    if (typeof ForkJob === 'function' && typeof serializeValue === 'function') {
      const addon = exports as HeapAddon
      addon.shareProcessState(loadAddon().processState, threadId)
      return addon
    }
    outcomes.push(`  ${file}: ${outcome ?? 'it is not the heap addon of this version of stillframe'}`)
  }
  throw new StillframeError(
    'ERR_STILLFRAME_ABI',
    `stillframe/heap and shared Regions need an addon that was built for Node ${major}, and this is Node ${process.version} ` +
      `(${describePlatform()}). Tried:\n${outcomes.join('\n')}\n` +
      (explicit
        ? 'STILLFRAME_HEAP_ADDON names this file: correct the variable or unset it.'
        : `Build it with this Node: run "npx node-gyp rebuild" in ${sourceRoot(packageRoot())} (needs Python, make ` +
          'and a C++20 compiler). Everything else in stillframe works without it.'),
  )
}

function filesOfPackage(prebuiltName: string): string[] {
  const root = packageRoot()
  return [...prebuilt(root, prebuiltName), join(sourceRoot(root), 'build', 'Release', 'stillframe_heap.node')]
}
