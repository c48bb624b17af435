/** The options of a capture: what they mean, their defaults, their checks. */

import { type EngineName, engineNames, type MemoryLimitAction } from './engines.js'
import { invalidArgType, invalidArgValue } from './errors.js'
import { encodeMetadata, type JsonValue } from './metadata.js'
import type { SnapshotProgress } from './progress.js'
import {
  checkBoolean,
  checkCallback,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSignal,
} from './validate.js'

/** Options of `snapshot()` and `preflight()`. */
export interface SnapshotOptions {
  /**
   * `'auto'` (default) takes the best engine that works for these sources here. An engine by name is used,
   * or refused with `ERR_STILLFRAME_ENGINE_UNAVAILABLE`; see docs/ENGINES.md.
   */
  engine?: 'auto' | EngineName
  /**
   * Bytes that copy-on-write may cost at most, an integer >= 1. Default: half of the memory that is
   * available when the capture starts.
   */
  memoryLimit?: number
  /**
   * At the limit: `'wait'` (default where it can be had) lets the thread that writes the page wait for the disk, `'abort'` ends the
   * capture with `ERR_STILLFRAME_MEMORY_LIMIT`. With fork the kernel does the copying and only `'abort'` is
   * possible: `engine: 'fork'` refuses `'wait'`, while `'auto'` takes it as a wish and may abort.
   */
  onMemoryLimit?: MemoryLimitAction
  /**
   * True (default): the kernel may write into the sources during the capture (`fs.read`, sockets). False
   * allows engines with which such writes fail with `EFAULT` unless `Region.prepareWrite()` announced them; they
   * are faster, and need no privilege.
   */
  kernelWrites?: boolean
  /** This version writes uncompressed files: `'none'` (default) is the only value it takes. */
  compression?: 'none' | 'zstd' | { codec: 'zstd'; level: number }
  /** Stored in the file as JSON, as it is at the call. At most 64 MiB as text. */
  metadata?: JsonValue
  /** True (default): replace an existing file atomically. False: `ERR_STILLFRAME_EXISTS`. */
  overwrite?: boolean
  /** Permission bits of the file, 0 to 0o777; the umask does not apply. Default 0o600. */
  mode?: number
  /** True (default): file and directory are fsynced before `done` resolves. */
  durable?: boolean
  /** Milliseconds without any progress after which the capture is ended with `ERR_STILLFRAME_STALLED`. Default 60,000. */
  stallTimeoutMs?: number
  /** Aborts the capture: `done` rejects with the signal's reason. */
  signal?: AbortSignal
  /**
   * Called about every 100 ms while the capture runs, and with the final counts before `done` resolves.
   * What it throws is raised as an uncaught exception, as from an event listener; the capture goes on.
   */
  onProgress?: (progress: SnapshotProgress) => void
}

/** Options with their defaults filled in. */
export interface CheckedSnapshotOptions {
  readonly engine: 'auto' | EngineName
  readonly memoryLimit: number
  readonly onMemoryLimit: MemoryLimitAction | undefined
  /** Undefined when the caller did not say. */
  readonly kernelWrites: boolean | undefined
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

/** Checks all options of a capture. @throws TypeError, RangeError. */
export function checkSnapshotOptions(options: unknown): CheckedSnapshotOptions {
  const given = checkOptions(options, known)
  checkCompression(given.compression)
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
        : checkBoolean(given.kernelWrites, 'options.kernelWrites', true),
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

function optionalInteger(value: unknown, name: string, min: number, max: number): number | undefined {
  return value === undefined ? undefined : checkInteger(value, name, min, max)
}

/** Levels of zstd, without the negative ones. */
const minLevel = 1
const maxLevel = 22

function checkCompression(value: unknown): void {
  const name = 'options.compression'
  if (value === undefined || value === 'none') return
  if (typeof value === 'object' && value !== null) {
    const { codec, level } = value as { codec?: unknown; level?: unknown }
    for (const key of Object.keys(value)) {
      if (key !== 'codec' && key !== 'level')
        throw invalidArgValue(`${name}.${key} is not known; known are codec, level`)
    }
    checkChoice(codec, `${name}.codec`, ['zstd'])
    checkInteger(level, `${name}.level`, minLevel, maxLevel)
  } else if (typeof value === 'string') {
    checkChoice(value, name, ['none', 'zstd'])
  } else {
    throw invalidArgType(name, "'none', 'zstd' or { codec: 'zstd', level }", value)
  }
  throw invalidArgValue(`${name} must be 'none': this version of stillframe writes uncompressed files only`)
}
