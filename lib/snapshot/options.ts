/** The options of a capture: their meaning, their defaults and their checks. */

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

/** How the bytes of a file are encoded. */
export type Compression = 'none' | 'zstd' | { codec: 'zstd'; level: number }

/**
 * Options of `snapshot()` and `preflight()`. The compiler infers `Meta`, the type of the metadata.
 */
export interface SnapshotOptions<Meta = JsonValue> extends FileOptions {
  /**
   * `'auto'` (default) takes the best engine that works for these sources on this machine. An
   * engine that is named is used, or refused with `ERR_STILLFRAME_ENGINE_UNAVAILABLE`. See
   * docs/ENGINES.md.
   */
  engine?: 'auto' | EngineName | undefined
  /**
   * The most memory that copy-on-write may take, in bytes: an integer >= 1. Default: half of the
   * memory that is available when the capture starts, or at most two seconds before.
   */
  memoryLimit?: number | undefined
  /**
   * What happens at the limit. With `'wait'` (the default where it is possible) the thread that
   * writes to a page waits for the disk; with `'abort'` the capture ends with
   * `ERR_STILLFRAME_MEMORY_LIMIT`. With fork the kernel does the copying, and only `'abort'` is
   * possible: `engine: 'fork'` refuses `'wait'`, while `'auto'` treats it as a preference and may
   * abort.
   */
  onMemoryLimit?: MemoryLimitAction | undefined
  /**
   * How the kernel may write into the sources during the capture.
   *
   * - `true` (default): through their page table, as `fs.read` and sockets do. Descriptors that
   *   direct reads can come from are looked for: if there is one, `'auto'` takes fork, and another
   *   engine that was named is refused.
   * - `false`: not at all. This allows engines that are faster and need no privilege, but with
   *   which such writes fail with `EFAULT` unless `Region.prepareWrite()` announced them. Nothing
   *   may be filling the sources at the call either.
   * - `'direct'`: past the page table as well (`O_DIRECT`, registered buffers of io_uring, RDMA),
   *   which only fork freezes.
   */
  kernelWrites?: boolean | 'direct' | undefined
  /**
   * `'none'` (default) makes a flat file, which `restore()` can map. `'zstd'` makes a packed file,
   * which is smaller: compressing takes all processors that the service leaves idle, and the file
   * can only be restored with `mode: 'copy'` or `into`. `level` is an integer from -50 (fast) to 22
   * (small); the default is 1.
   */
  compression?: Compression | undefined
  /**
   * The most bytes that may be written to the disk in a second, an integer >= 1, so that a snapshot
   * leaves some of the disk to others. Default: no limit.
   */
  maxBytesPerSecond?: number | undefined
  /**
   * Niceness of the saver threads, an integer from 0 to 19: the higher it is, the more they yield
   * to the service when processors are short. Default 10.
   */
  nice?: number | undefined
  /**
   * Stored in the file as JSON, as it is at the call: at most 64 MiB of text and 250,000 values,
   * nested at most 1,000 deep.
   */
  metadata?: JsonValue | (Meta & JsonOf<Meta>) | undefined
  /**
   * Milliseconds without any progress after which the capture is ended with
   * `ERR_STILLFRAME_STALLED`. Default 60,000.
   */
  stallTimeoutMs?: number | undefined
  /**
   * A complete snapshot to build on: the file then holds only what differs from it, and can be read
   * only together with it. Sections are compared by name. What is not the recorded parent any more
   * is refused with `ERR_STILLFRAME_PARENT`. See docs/DELTAS.md.
   */
  parent?: string | URL | ParentSnapshot | undefined
  /**
   * `true`: from this instant on, record is kept of what is written to the Regions among the
   * sources. A frame whose `parent` is this one then freezes and reads only what was written since
   * (`scannedBytes`). `false`: the record ends with this capture. Not given: it stays as it is, and
   * goes on from the frame that it began with.
   *
   * It takes engine `userfaultfd` with the fault thread, and whole Regions that are not mapped from
   * a file. Where that cannot be had, no record is kept, and frames are compared by content as
   * without this option. See docs/DELTAS.md.
   */
  trackChanges?: boolean | undefined
  /** Aborts the capture: `done` rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Called about every 100 ms while the capture runs, and with the final counts before `done`
   * resolves. If it throws, the error is raised as an uncaught exception, as from an event
   * listener, and the capture goes on.
   */
  onProgress?: ((progress: SnapshotProgress) => void) | undefined
}

export interface CheckedParent {
  readonly path: string
  /** That it has to have; undefined: any. */
  readonly id: string | undefined
  /** Where to look for what it builds on itself; not given: beside it. */
  readonly parents?: readonly string[]
}

/** Options with their defaults filled in. */
export interface CheckedSnapshotOptions {
  readonly engine: 'auto' | EngineName
  readonly onMemoryLimit: MemoryLimitAction | undefined
  /** Undefined if the caller did not say. */
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

/** @internal What a capture is asked for, apart from its parent and its file. */
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

// Chosen so that a disk with a long queue, or one that has to spin up, is not taken for a dead one.
const defaultStallTimeoutMs = 60_000
const maxTimeoutMs = 2 ** 31 - 1
// With it savers get a tenth of a processor that somebody else wants too, and all of one that
// nobody wants.
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

/** Levels of zstd: negative ones are faster than 1. */
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
