/**
 * The second native addon, stillframe_heap.node (`native/heap/`): its shape, and how it is found.
 *
 * It uses V8 itself and is compiled for one major version of Node. These are tried in order: the
 * file named by the environment variable STILLFRAME_HEAP_ADDON, and nothing else; the prebuilt
 * binary for this version of Node; the result of a source build in source/build/Release. In a
 * checkout only what was built there is tried.
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

/** What a heap summary says of itself, and what it leaves out. */
export interface SummaryPlan {
  trigger: string
  /** Of the service, which the copy is not. */
  pid: number
  thread: number
  redact: boolean
}

/** What a forked copy has to do. */
export interface ForkPlan {
  target: TargetPlan
  pacing: PacingPlan
  limits: LimitsPlan
  /** What the copy writes is read from `takeStream()`; the target does not matter. */
  toStream: boolean
  /** Whose heap it is, if not this thread's: `threadId` of a Worker. Otherwise 0. */
  thread: number
  /** For heap snapshots: the service's V8 gives the ids and keeps them. */
  stableIds: boolean
  /** For heap snapshots: no contents of strings in the file. */
  redact: boolean
  /** For heap summaries. Undefined for other jobs. */
  summary: SummaryPlan | undefined
  /**
   * Runs in the copy. It hands bytes for the file to `emit`, which is false if they cannot be
   * written, and what was thrown, serialized, to `fail`. Undefined: a heap snapshot is taken, or a
   * summary is written.
   */
  run: ((emit: (bytes: Uint8Array) => boolean, fail: (bytes: Uint8Array) => void) => void) | undefined
}

/** What is reported at the end of a job. */
export interface NativeForkResult {
  fileSize: number
  allocatedBytes: number
  durationMs: number
  childBytesPeak: number
}

/** Where the pause went, in milliseconds. */
export interface PauseParts {
  /** Until V8's worker threads stood still. */
  parkMs: number
  /** For heap snapshots with `stableIds`: giving ids to the objects. */
  idsMs: number
  /** Finding out which memory is V8's. */
  mappingsMs: number
  /** Letting that memory be forked. */
  flipMs: number
  forkMs: number
  /** Keeping it out of child processes again. */
  restoreMs: number
}

/** A running job. */
export interface ForkJobHandle {
  /** Of the forked copy. */
  readonly pid: number
  /** 0 while a Worker has not been reached yet. */
  readonly frozenAtMs: number
  readonly times: PauseParts
  /**
   * Fills in: bytes written, steps of V8's walk done and in all (0: not known), bytes of the copy's
   * own.
   */
  progress(into: Float64Array): void
  abort(): void
  /** Descriptor of the pipe that the copy writes to, which is the caller's from now on. */
  takeStream(): number
  /**
   * After the end: the copy waited for a lock that a thread of the service held when it was forked.
   */
  readonly heldLock: boolean
  /** After the end: `timeoutMs` was over. */
  readonly outOfTime: boolean
  /** After the end: what the callback threw, as `run` serialized it. */
  failure(): Uint8Array
}

/** What the serializer asks about the objects that it comes across. */
export interface SerializeRules {
  /** Whether nothing would be left of an object that has a class. It is not asked on Node 20. */
  hasNoState(object: object): boolean
  /** The number of the view's type in the file, or why the view cannot be written. */
  typeOfView(view: NodeJS.ArrayBufferView): number | string
  /** The buffer of a view that shares it with others, as its number says. */
  bufferOf(view: NodeJS.ArrayBufferView): ArrayBuffer
}

/** A value as V8 has written it. */
export interface SerializedValue {
  payload: ArrayBuffer
  /** How many containers are within one another at the deepest place. */
  depth: number
  /** Whether it contains ArrayBuffers themselves. */
  hasArrayBuffers: boolean
}

/** What a watch over memory acts on; 0 and false are not watched for. */
export interface MemoryWatchTriggers {
  nearHeapLimit: boolean
  heapUsedBytes: number
  heapUsedPercent: number
  rssBytes: number
  cgroupPercent: number
  pressurePercent: number
}

export interface MemoryWatchPlan {
  /** Its path is the directory. */
  target: TargetPlan
  pacing: PacingPlan
  limits: LimitsPlan
  triggers: MemoryWatchTriggers
  /** Process and thread, for the names of the files. */
  owner: string
  thread: number
  /** Of a Worker, in bytes; 0 for the main thread. */
  oldGenerationLimit: number
  everyMs: number
  coolDownMs: number
  redact: boolean
  /** A summary where there is no memory for a heap snapshot. */
  summarize: boolean
}

/** What a heap snapshot takes, and what there is. */
export interface NativeHeapNeed {
  heapBytes: number
  neededBytes: number
  availableBytes: number
}

export interface NativeWatchEvent extends NativeHeapNeed {
  kind: 'started' | 'ended' | 'failed' | 'too-big'
  trigger: 'near-heap-limit' | 'heap' | 'rss' | 'cgroup' | 'pressure'
  path: string
  /** What is at the path, or is to be. */
  isSummary: boolean
  /** Path of the heap snapshot that was begun, and that `failure` tells of; or empty. */
  insteadOf: string
  /** Of the copy. */
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
   * Serializes into at most `limit` bytes. A string says why not, as the rest of a sentence that
   * begins with "the value". Throws what getters throw.
   */
  serializeValue(value: unknown, rules: SerializeRules, limit: number): SerializedValue | string
  /** For the RegionHandle of the other addon, which has made `share`: a SharedArrayBuffer over the memory of a region. */
  makeSharedBuffer(share: unknown): SharedArrayBuffer
  /** Takes the other addon's state of the process, and the number of this thread; called once. */
  shareProcessState(state: unknown, threadId: number): void
  /** The name of the script that a function comes from. */
  scriptOf(of: unknown): string | undefined
  /** For tests only: the same as in the other addon, for the calls of this one. */
  injectFault: Addon['injectFault']
  clearFaults: Addon['clearFaults']
  /** For tests only: one of V8's threads is busy between these two calls. */
  holdWorker: () => void
  releaseWorker: () => void
}

let loaded: HeapAddon | undefined

/**
 * The addon for this version of Node; loaded once per thread.
 *
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_PLATFORM`; `ERR_STILLFRAME_ABI` when there is
 *   none.
 */
export function loadHeapAddon(): HeapAddon {
  loaded ??= load()
  return loaded
}

/** @internal Why `stillframe/heap` cannot be used here; undefined if it can. */
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
