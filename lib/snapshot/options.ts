/** Options of a capture: meaning, defaults and checks. */

import type { EncodingPlan, LimitsPlan, PacingPlan } from '../addon/addon.js'
import { invalidArgType, invalidArgValue } from '../base/errors.js'
import { encodeMetadata, type JsonOf, type JsonValue } from '../base/metadata.js'
import { checkPath } from '../base/path.js'
import type { SnapshotProgress } from '../base/progress.js'
import {
  checkBoolean,
  checkCallback,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSignal,
  optionalInteger,
  ownProperties,
} from '../base/validate.js'
import {
  type EngineName,
  engineNames,
  type KernelWrites,
  type MemoryLimitAction,
} from '../machine/engines.js'
import {
  type CheckedFileOptions,
  checkFileOptions,
  type FileOptions,
  fileOptionNames,
} from './file-options.js'

/** A complete snapshot: a `Snapshot` or a `SnapshotResult`. */
export interface ParentSnapshot {
  readonly id: string
  readonly path: string
}

/** Encoding of the memory in a file. */
export type Compression = 'none' | 'zstd' | { codec: 'zstd'; level: number }

/**
 * Options of `snapshot()` and `preflight()`. The compiler infers `Meta`, the type of the metadata.
 */
export interface SnapshotOptions<Meta = JsonValue> extends FileOptions {
  /**
   * `'auto'` (default) selects the best engine that works for these sources on this machine. A
   * named engine is used, or refused with `ERR_STILLFRAME_ENGINE_UNAVAILABLE`. See docs/ENGINES.md.
   */
  engine?: 'auto' | EngineName | undefined
  /**
   * Maximum memory that copy-on-write may take, in bytes: an integer >= 1. Default: half of the
   * available memory, measured when the capture starts or at most two seconds before.
   */
  memoryLimit?: number | undefined
  /**
   * Action at the memory limit. With `'wait'` (the default where possible), a thread that writes to
   * a frozen page waits for the disk; with `'abort'`, the capture ends with
   * `ERR_STILLFRAME_MEMORY_LIMIT`. With fork, the kernel does the copying and only `'abort'` is
   * possible: `engine: 'fork'` refuses `'wait'`, while `'auto'` treats it as a preference and may
   * abort.
   */
  onMemoryLimit?: MemoryLimitAction | undefined
  /**
   * Ways in which the kernel may write into the sources during the capture.
   *
   * - `true` (default): through their page table, as `fs.read` and sockets do. The capture looks
   *   for descriptors that direct reads can come from: if there is one, `'auto'` uses fork, and a
   *   named engine other than fork is refused.
   * - `false`: not at all. This allows engines that are faster and need no privilege, but under
   *   which such writes fail with `EFAULT` unless `Region.prepareWrite()` announced them. In
   *   addition, no read may be filling the sources at the time of the call.
   * - `'direct'`: also past the page table (`O_DIRECT`, registered buffers of io_uring, RDMA). Only
   *   fork freezes memory against such writes.
   */
  kernelWrites?: boolean | 'direct' | undefined
  /**
   * `'none'` (default) makes a flat file, which `restore()` can map. `'zstd'` makes a smaller,
   * packed file: compression uses all processors that the service leaves idle, and the file cannot
   * be restored with `mode: 'map'`. `level` is an integer from -50 (fast) to 22 (small); the
   * default is 1.
   */
  compression?: Compression | undefined
  /**
   * Maximum number of bytes written to disk per second, an integer >= 1, so that a snapshot leaves
   * some disk bandwidth to others. Default: no limit.
   */
  maxBytesPerSecond?: number | undefined
  /**
   * Niceness of the saver threads, an integer from 0 to 19: the higher it is, the more they yield
   * to the service when processors are scarce. Default 10.
   */
  nice?: number | undefined
  /**
   * Data to store in the file as JSON, as it is at the time of the call: at most 64 MiB of text and
   * 250,000 values, nested at most 1,000 deep.
   */
  metadata?: JsonValue | (Meta & JsonOf<Meta>) | undefined
  /**
   * Milliseconds without any progress after which the capture ends with `ERR_STILLFRAME_STALLED`.
   * Default 60,000.
   */
  stallTimeoutMs?: number | undefined
  /**
   * A complete snapshot to build on: the file then contains only the differences from it, and can
   * be read only together with it. Sections are matched by name. If the file of the parent is no
   * longer the snapshot that was given, the capture fails with `ERR_STILLFRAME_PARENT`. See
   * docs/DELTAS.md.
   */
  parent?: string | URL | ParentSnapshot | undefined
  /**
   * `true`: from this instant on, writes to the Regions among the sources are recorded. A frame
   * whose `parent` is this one then freezes and reads only what was written since (`scannedBytes`).
   * `false`: the record ends with this capture. Default: the record stays as it is, and continues
   * from the frame that it began with.
   *
   * Recording requires the engine `userfaultfd` with its fault thread, and whole Regions that are
   * not mapped from a file. Where these are not available, nothing is recorded, and frames are
   * compared by content, as without this option. See docs/DELTAS.md.
   */
  trackChanges?: boolean | undefined
  /** Aborts the capture: `done` rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Called about every 100 ms while the capture runs, and with the final counts before `done`
   * resolves. If it throws, the error is raised as an uncaught exception, as from an event
   * listener, and the capture continues.
   */
  onProgress?: ((progress: SnapshotProgress) => void) | undefined
}

export interface CheckedParent {
  readonly path: string
  /** Id that the file must have; undefined: any. */
  readonly id: string | undefined
  /** Where to look for the snapshots that the parent builds on itself; absent: next to it. */
  readonly parents?: readonly string[]
}

/** Options with their defaults filled in. */
export interface CheckedSnapshotOptions {
  readonly engine: 'auto' | EngineName
  readonly onMemoryLimit: MemoryLimitAction | undefined
  /** Undefined if the caller did not specify it. */
  readonly kernelWrites: KernelWrites | undefined
  /** JSON text. */
  readonly metadata: string | undefined
  readonly file: CheckedFileOptions
  /** The file to build on; undefined for none. */
  readonly parent: CheckedParent | undefined
  readonly trackChanges: boolean | undefined
  readonly encoding: EncodingPlan
  readonly pacing: PacingPlan
  readonly limits: LimitsPlan
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: SnapshotProgress) => void) | undefined
}

/** @internal Names of the capture options, except those of the parent and the file. */
export const captureOptionNames = [
  'engine',
  'memoryLimit',
  'onMemoryLimit',
  'kernelWrites',
  'compression',
  'maxBytesPerSecond',
  'nice',
  'metadata',
  'trackChanges',
  'stallTimeoutMs',
  'signal',
  'onProgress',
] as const satisfies readonly (keyof SnapshotOptions)[]

const known = [
  ...captureOptionNames,
  'parent',
  ...fileOptionNames,
] as const satisfies readonly (keyof SnapshotOptions)[]

const engineChoices = ['auto', ...engineNames] as const

// Long enough that a disk with a long queue, or one that has to spin up, is not mistaken for a dead
// one.
const defaultStallTimeoutMs = 60_000
const maxTimeoutMs = 2 ** 31 - 1
// At this niceness, savers get a tenth of a processor that another thread wants too, and all of an
// idle one.
const defaultNice = 10

/** Checks all options of a capture. @throws TypeError, RangeError. */
export function checkSnapshotOptions(options: unknown): CheckedSnapshotOptions {
  const given = checkOptions(options, known)
  const integer = (key: (typeof known)[number], min: number, max: number): number | undefined =>
    optionalInteger(given[key], `options.${key}`, min, max)
  const onMemoryLimit =
    given.onMemoryLimit === undefined
      ? undefined
      : checkChoice(given.onMemoryLimit, 'options.onMemoryLimit', ['wait', 'abort'])
  return {
    engine: given.engine === undefined ? 'auto' : checkChoice(given.engine, 'options.engine', engineChoices),
    limits: {
      memoryLimit: integer('memoryLimit', 1, Number.MAX_SAFE_INTEGER) ?? 0,
      onMemoryLimit: onMemoryLimit ?? 'wait',
      stallTimeoutMs: integer('stallTimeoutMs', 1, maxTimeoutMs) ?? defaultStallTimeoutMs,
      timeoutMs: 0,
    },
    onMemoryLimit,
    kernelWrites:
      given.kernelWrites === undefined
        ? undefined
        : checkKernelWrites(given.kernelWrites, 'options.kernelWrites'),
    encoding: checkCompression(given.compression),
    pacing: {
      maxBytesPerSecond: integer('maxBytesPerSecond', 1, Number.MAX_SAFE_INTEGER) ?? 0,
      nice: integer('nice', 0, 19) ?? defaultNice,
    },
    metadata: encodeMetadata(given.metadata),
    file: checkFileOptions(given),
    parent: checkParent(given.parent),
    trackChanges:
      given.trackChanges === undefined
        ? undefined
        : checkBoolean(given.trackChanges, 'options.trackChanges', false),
    signal: checkSignal(given.signal, 'options.signal'),
    onProgress: checkCallback<(progress: SnapshotProgress) => void>(given.onProgress, 'options.onProgress'),
  }
}

function checkParent(value: unknown): CheckedSnapshotOptions['parent'] {
  if (value === undefined) return undefined
  const name = 'options.parent'
  if (typeof value === 'string') return { path: checkPath(value, 'read', name), id: undefined }
  if (typeof value !== 'object' || value === null)
    throw invalidArgType(name, 'a path, a file: URL, a Snapshot or a SnapshotResult', value)
  const { id, path } = value as Partial<ParentSnapshot>
  if (typeof id !== 'string' || typeof path !== 'string')
    return { path: checkPath(value, 'read', name), id: undefined }
  return { path: checkPath(path, 'read', name), id }
}

function checkKernelWrites(value: unknown, name: string): KernelWrites {
  return typeof value === 'string' ? checkChoice(value, name, ['direct']) : checkBoolean(value, name, true)
}

/** Levels of zstd; negative levels are faster than 1. */
const minLevel = -50
const maxLevel = 22
const defaultLevel = 1

function checkCompression(value: unknown): EncodingPlan {
  const name = 'options.compression'
  if (value === undefined) return { codec: 'none', level: 0 }
  if (typeof value === 'string') {
    const codec = checkChoice(value, name, ['none', 'zstd'])
    return { codec, level: codec === 'zstd' ? defaultLevel : 0 }
  }
  if (typeof value !== 'object' || value === null)
    throw invalidArgType(name, "'none', 'zstd' or { codec: 'zstd', level }", value)
  const { codec, level } = ownProperties(value as { codec?: unknown; level?: unknown })
  for (const key of Object.keys(value)) {
    if (key !== 'codec' && key !== 'level')
      throw invalidArgValue(`${name}.${key} is not known; known are codec, level`)
  }
  return {
    codec: checkChoice(codec, `${name}.codec`, ['zstd']),
    level: checkInteger(level, `${name}.level`, minLevel, maxLevel),
  }
}
