/** The options of an archive: their meaning, their defaults and their checks. */

import { tmpdir } from 'node:os'
import { describe, invalidArgType, invalidArgValue, outOfRange } from '../base/errors.js'
import { checkDirectory } from '../base/path.js'
import { checkBoolean, checkOptions, optionalInteger } from '../base/validate.js'
import { checkEncryption, type EncryptionOptions } from '../store/encryption.js'
import { SealedStore } from '../store/sealed-store.js'
import { checkStore, type ObjectStore } from '../store/store.js'
import type { RetentionRules } from './retention.js'

/**
 * A length of time: milliseconds, or a number with a unit, such as `'30s'`, `'30m'`, `'12h'`, `'7d'` or `'2w'`.
 */
export type Duration = number | string

/**
 * Which frames are kept, in restic's words: those that at least one of these asks for. Hours, days and weeks are those
 * of UTC. Each count is an integer >= 1.
 */
export interface Retention {
  /** The last so many frames. */
  last?: number | undefined
  /**
   * All frames that are younger than that, counted from the newest one, and the next older one, so that there is a
   * frame at or before each instant of the window.
   */
  within?: Duration | undefined
  /** The newest frame of each of the last so many hours that have one. */
  hourly?: number | undefined
  /** The same of days. */
  daily?: number | undefined
  /** The same of weeks, which begin on Monday. */
  weekly?: number | undefined
}

/** Options of `openArchive()`. */
export interface ArchiveOptions {
  /**
   * Applied by itself after each frame. Not given: frames are given up only by `prune()`. Of a reader it says by which rules
   * `frames()` tells why a frame is kept; not given, by those of the last writer.
   */
  retention?: Retention | undefined
  /**
   * How many files the newest frame may be read from before one full file is made of them in the background: an
   * integer from 2 to 200. Default 16.
   */
  fullEvery?: number | undefined
  /** True: nothing is written, and no lock is taken. Any number of readers goes with one writer. Default false. */
  readOnly?: boolean | undefined
  /**
   * Frames of the directory are copied there, each when it is complete, and what is not in the directory is restored from
   * there. Captures do not wait for it.
   */
  store?: ObjectStore | undefined
  /** What is kept in `store`; applied after each copy. Not given: everything. */
  storeRetention?: Retention | undefined
  /** What leaves for a store is sealed with AES-256-GCM before, and opened when it comes back. */
  encryption?: EncryptionOptions | undefined
  /**
   * Where files lie on their way to and from a store: an existing directory, with room for a full frame and those that build on
   * it. Default: the temporary directory of the system.
   */
  spool?: string | URL | undefined
}

/** With the defaults filled in. */
export interface CheckedArchiveOptions {
  readonly retention: RetentionRules | undefined
  readonly fullEvery: number
  readonly readOnly: boolean
  /** Sealed, if it is to be. */
  readonly store: ObjectStore | undefined
  readonly storeRetention: RetentionRules | undefined
  /** Absolute. */
  readonly spool: string
}

const defaultFullEvery = 16
/** A chain grows on while it is compacted, and native code reads at most 1,000 files. */
const maxFullEvery = 200

const names = [
  'retention',
  'fullEvery',
  'readOnly',
  'store',
  'storeRetention',
  'encryption',
  'spool',
] as const satisfies readonly (keyof ArchiveOptions)[]

/**
 * @param place - where the archive is, if that is a store.
 * @throws TypeError, RangeError.
 */
export function checkArchiveOptions(options: unknown, place: ObjectStore | undefined): CheckedArchiveOptions {
  const given = checkOptions(options, names)
  const copies = given.store === undefined ? undefined : checkStore(given.store, 'options.store')
  for (const name of ['store', 'storeRetention'] as const) {
    if (place !== undefined && given[name] !== undefined) {
      throw invalidArgValue(
        `options.${name} is for archives in a directory; here the store is the archive, and retention its rules`,
      )
    }
  }
  const store = place ?? copies
  for (const name of ['storeRetention', 'encryption', 'spool'] as const) {
    if (store === undefined && given[name] !== undefined) {
      throw invalidArgValue(`options.${name} is for archives with a store. Pass options.store too`)
    }
  }
  return {
    store:
      store === undefined || given.encryption === undefined
        ? store
        : new SealedStore(store, checkEncryption(given.encryption)),
    storeRetention:
      given.storeRetention === undefined
        ? undefined
        : checkRetention(given.storeRetention, 'options.storeRetention'),
    spool: given.spool === undefined ? tmpdir() : checkDirectory(given.spool, 'write', 'options.spool'),
    retention:
      given.retention === undefined ? undefined : checkRetention(given.retention, 'options.retention'),
    fullEvery: optionalInteger(given.fullEvery, 'options.fullEvery', 2, maxFullEvery) ?? defaultFullEvery,
    readOnly: checkBoolean(given.readOnly, 'options.readOnly', false),
  }
}

const counts = ['last', 'hourly', 'daily', 'weekly'] as const

/** @throws TypeError, RangeError. */
export function checkRetention(value: unknown, name: string): RetentionRules {
  const given = checkOptions(value, [...counts, 'within'], name)
  const rules: { -readonly [key in keyof RetentionRules]: RetentionRules[key] } = {}
  for (const key of counts) {
    const count = optionalInteger(given[key], `${name}.${key}`, 1, Number.MAX_SAFE_INTEGER)
    if (count !== undefined) rules[key] = count
  }
  if (given.within !== undefined) {
    rules.within = { ms: checkDuration(given.within, `${name}.within`), text: textOf(given.within) }
  }
  if (Object.keys(rules).length === 0) {
    throw invalidArgValue(
      `${name} must have at least one of ${[...counts, 'within'].join(', ')}: without any, all but the newest frame would be given up`,
    )
  }
  return rules
}

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const
const durationWords = "milliseconds as a number > 0, or a text such as '30m', '12h', '7d' or '2w'"

/** @returns milliseconds. @throws TypeError, RangeError. */
export function checkDuration(value: unknown, name: string): number {
  if (typeof value === 'number') {
    if (!(value > 0 && Number.isFinite(value))) throw outOfRange(name, durationWords, value)
    return value
  }
  if (typeof value !== 'string') throw invalidArgType(name, durationWords, value)
  const [, count, unit] = /^(\d{1,9})([smhdw])$/.exec(value) ?? []
  if (count === undefined || Number(count) === 0)
    throw invalidArgValue(`${name} must be ${durationWords}, not ${describe(value)}`)
  return Number(count) * unitMs[unit as keyof typeof unitMs]
}

function textOf(duration: unknown): string {
  return typeof duration === 'number' ? `${duration}ms` : String(duration)
}
