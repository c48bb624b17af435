/** The options of a capture: what they mean, their defaults, their checks. */

import { invalidArgType, invalidArgValue } from '../base/errors.js'
import { encodeMetadata, type JsonOf, type JsonValue } from '../base/metadata.js'
import type { SnapshotProgress } from '../base/progress.js'
import {
  checkBoolean,
  checkCallback,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSignal,
  ownProperties,
} from '../base/validate.js'
import {
  type EngineName,
  engineNames,
  type KernelWrites,
  type MemoryLimitAction,
} from '../machine/engines.js'

/** How the bytes of a file are encoded. */
export type Compression = 'none' | 'zstd' | { codec: 'zstd'; level: number }

/** Options of `snapshot()` and `preflight()`. `Meta`, the type of the metadata, is found by the compiler. */
export interface SnapshotOptions<Meta = JsonValue> {
  /**
   * `'auto'` (default) takes the best engine that works for these sources here. An engine by name is used,
   * or refused with `ERR_STILLFRAME_ENGINE_UNAVAILABLE`; see docs/ENGINES.md.
   */
  engine?: 'auto' | EngineName | undefined
  /**
   * Bytes that copy-on-write may cost at most, an integer >= 1. Default: half of the memory that is
   * available when the capture starts.
   */
  memoryLimit?: number | undefined
  /**
   * At the limit: `'wait'` (default where it can be had) lets the thread that writes the page wait for the disk, `'abort'` ends the
   * capture with `ERR_STILLFRAME_MEMORY_LIMIT`. With fork the kernel does the copying and only `'abort'` is
   * possible: `engine: 'fork'` refuses `'wait'`, while `'auto'` takes it as a wish and may abort.
   */
  onMemoryLimit?: MemoryLimitAction | undefined
  /**
   * True (default): the kernel may write into the sources during the capture (`fs.read`, sockets). False
   * allows engines with which such writes fail with `EFAULT` unless `Region.prepareWrite()` announced them; they
   * are faster, and need no privilege. `'direct'`: it may also write past the page table (`O_DIRECT`, registered buffers of
   * io_uring, RDMA), which only fork freezes. With true, descriptors that such reads can come from are looked for, and
   * `'auto'` takes fork when there is one; with false nothing may be filling the sources at the call either.
   */
  kernelWrites?: boolean | 'direct' | undefined
  /**
   * `'none'` (default): a flat file, which `restore()` can map. `'zstd'`: a packed file, smaller; it takes all
   * processors that the service leaves over, and can only be restored by `mode: 'copy'` or `into`. `level`: an
   * integer from -50 (fast) to 22 (small), default 1.
   */
  compression?: Compression | undefined
  /**
   * Bytes that may be written to the disk in a second, an integer >= 1, so that a snapshot leaves some of it to
   * others. Default: no limit.
   */
  maxBytesPerSecond?: number | undefined
  /**
   * How far those who save stand back for the service when processors are few: their niceness, an integer
   * from 0 to 19. Default 10.
   */
  nice?: number | undefined
  /** Stored in the file as JSON, as it is at the call. At most 64 MiB as text, 250,000 values, nested 1,000 deep. */
  metadata?: JsonValue | (Meta & JsonOf<Meta>) | undefined
  /** True (default): replace an existing file atomically. False: `ERR_STILLFRAME_EXISTS`. */
  overwrite?: boolean | undefined
  /** Permission bits of the file, 0 to 0o777; the umask does not apply. Default 0o600. */
  mode?: number | undefined
  /** True (default): file and directory are fsynced before `done` resolves. */
  durable?: boolean | undefined
  /** Milliseconds without any progress after which the capture is ended with `ERR_STILLFRAME_STALLED`. Default 60,000. */
  stallTimeoutMs?: number | undefined
  /** Aborts the capture: `done` rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Called about every 100 ms while the capture runs, and with the final counts before `done` resolves.
   * What it throws is raised as an uncaught exception, as from an event listener; the capture goes on.
   */
  onProgress?: ((progress: SnapshotProgress) => void) | undefined
}

/** A codec with its level; 0 without one. */
export interface CheckedCompression {
  readonly codec: 'none' | 'zstd'
  readonly level: number
}

/** Options with their defaults filled in. */
export interface CheckedSnapshotOptions {
  readonly engine: 'auto' | EngineName
  readonly memoryLimit: number
  readonly onMemoryLimit: MemoryLimitAction | undefined
  /** Undefined when the caller did not say. */
  readonly kernelWrites: KernelWrites | undefined
  readonly compression: CheckedCompression
  /** 0: no limit. */
  readonly maxBytesPerSecond: number
  readonly nice: number
  /** JSON text. */
  readonly metadata: string | undefined
  readonly overwrite: boolean
  readonly mode: number
  readonly durable: boolean
  readonly stallTimeoutMs: number
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: SnapshotProgress) => void) | undefined
}

const known = [
  'engine',
  'memoryLimit',
  'onMemoryLimit',
  'kernelWrites',
  'compression',
  'maxBytesPerSecond',
  'nice',
  'metadata',
  'overwrite',
  'mode',
  'durable',
  'stallTimeoutMs',
  'signal',
  'onProgress',
] as const satisfies readonly (keyof SnapshotOptions)[]

// Chosen so that a disk with a long queue, or one that spins up, is not taken for a dead one.
const defaultStallTimeoutMs = 60_000
const maxTimeoutMs = 2 ** 31 - 1
// A tenth of a processor that somebody else wants too, and all of one that nobody wants.
const defaultNice = 10

/** Checks all options of a capture. @throws TypeError, RangeError. */
export function checkSnapshotOptions(options: unknown): CheckedSnapshotOptions {
  const given = checkOptions(options, known)
  return {
    engine:
      given.engine === undefined
        ? 'auto'
        : checkChoice(given.engine, 'options.engine', ['auto', ...engineNames]),
    memoryLimit: optionalInteger(given.memoryLimit, 'options.memoryLimit', 1, Number.MAX_SAFE_INTEGER) ?? 0,
    onMemoryLimit:
      given.onMemoryLimit === undefined
        ? undefined
        : checkChoice(given.onMemoryLimit, 'options.onMemoryLimit', ['wait', 'abort']),
    kernelWrites:
      given.kernelWrites === undefined
        ? undefined
        : checkKernelWrites(given.kernelWrites, 'options.kernelWrites'),
    compression: checkCompression(given.compression),
    maxBytesPerSecond:
      optionalInteger(given.maxBytesPerSecond, 'options.maxBytesPerSecond', 1, Number.MAX_SAFE_INTEGER) ?? 0,
    nice: optionalInteger(given.nice, 'options.nice', 0, 19) ?? defaultNice,
    metadata: encodeMetadata(given.metadata),
    overwrite: checkBoolean(given.overwrite, 'options.overwrite', true),
    mode: optionalInteger(given.mode, 'options.mode', 0, 0o777) ?? 0o600,
    durable: checkBoolean(given.durable, 'options.durable', true),
    stallTimeoutMs:
      optionalInteger(given.stallTimeoutMs, 'options.stallTimeoutMs', 1, maxTimeoutMs) ??
      defaultStallTimeoutMs,
    signal: checkSignal(given.signal, 'options.signal'),
    onProgress: checkCallback<(progress: SnapshotProgress) => void>(given.onProgress, 'options.onProgress'),
  }
}

function checkKernelWrites(value: unknown, name: string): KernelWrites {
  return typeof value === 'string' ? checkChoice(value, name, ['direct']) : checkBoolean(value, name, true)
}

function optionalInteger(value: unknown, name: string, min: number, max: number): number | undefined {
  return value === undefined ? undefined : checkInteger(value, name, min, max)
}

/** Levels of zstd: negative ones are faster than 1. */
const minLevel = -50
const maxLevel = 22
const defaultLevel = 1

function checkCompression(value: unknown): CheckedCompression {
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
