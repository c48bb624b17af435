/** Options of an archive, with their defaults and checks. */

import { tmpdir } from 'node:os'
import { describe, invalidArgType, invalidArgValue, outOfRange } from '../base/errors.js'
import { checkDirectory } from '../base/path.js'
import { checkBoolean, checkOptions, optionalInteger } from '../base/validate.js'
import { checkEncryption, type EncryptionOptions } from '../store/encryption.js'
import { SealedStore } from '../store/sealed-store.js'
import { checkStore, type ObjectStore } from '../store/store.js'
import type { RetentionRules } from './retention.js'

/**
 * A length of time: milliseconds, or a string with a number and a unit, such as `'30s'`, `'30m'`,
 * `'12h'`, `'7d'` or `'2w'`.
 */
export type Duration = number | string

/**
 * Retention rules, with the names that restic uses. A frame is kept if at least one rule asks for
 * it. Hours, days and weeks are in UTC. Each count is an integer >= 1.
 */
export interface Retention {
  /** Keeps this many of the newest frames. */
  last?: number | undefined
  /**
   * Keeps all frames that are less than this much older than the newest one, and the next older
   * frame, so that there is a frame at or before each instant of the window.
   */
  within?: Duration | undefined
  /** Keeps the newest frame of each hour, for this many of the latest hours that have a frame. */
  hourly?: number | undefined
  /** The same for days. */
  daily?: number | undefined
  /** The same for weeks, which begin on Monday. */
  weekly?: number | undefined
}

/** Options of `openArchive()`. */
export interface ArchiveOptions {
  /**
   * Applied automatically after each frame. If absent, frames are pruned only by `prune()`. For a
   * reader, the rules by which `frames()` explains why a frame is kept; default: those of the last
   * writer.
   */
  retention?: Retention | undefined
  /**
   * Chain length at which the newest frame is compacted into one full file in the background: an
   * integer from 2 to 200. Default 16.
   */
  fullEvery?: number | undefined
  /**
   * True to write nothing and take no lock. Any number of readers can run alongside the writer.
   * Default false.
   */
  readOnly?: boolean | undefined
  /**
   * A store to which frames of the directory are copied as they complete, and from which frames
   * that are not in the directory are restored. Captures do not wait for the copies.
   */
  store?: ObjectStore | undefined
  /** Retention rules for `store`, applied after each copy. If absent, all copies are kept. */
  storeRetention?: Retention | undefined
  /**
   * Encrypts objects with AES-256-GCM before they leave for a store, and decrypts them when they
   * come back.
   */
  encryption?: EncryptionOptions | undefined
  /**
   * Directory for files in transit to and from a store. It must exist and have room for a full
   * frame and the deltas that build on it. Default: the temporary directory of the system.
   */
  spool?: string | URL | undefined
}

/** Options with the defaults filled in. */
export interface CheckedArchiveOptions {
  readonly retention: RetentionRules | undefined
  readonly fullEvery: number
  readonly readOnly: boolean
  /** With `encryption`, the store is wrapped so that its objects are sealed. */
  readonly store: ObjectStore | undefined
  readonly storeRetention: RetentionRules | undefined
  /** Absolute path. */
  readonly spool: string
}

const defaultFullEvery = 16
/** A chain keeps growing while it is compacted, and native code reads at most 1,000 files. */
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
 * @param place - the store, if the archive is in a store alone.
 * @throws TypeError, RangeError.
 */
export function checkArchiveOptions(options: unknown, place: ObjectStore | undefined): CheckedArchiveOptions {
  const given = checkOptions(options, names)
  const copies = given.store === undefined ? undefined : checkStore(given.store, 'options.store')
  for (const name of ['store', 'storeRetention'] as const) {
    if (place !== undefined && given[name] !== undefined) {
      throw invalidArgValue(
        `options.${name} is for archives in a directory; this archive is in the store, and ` +
          'options.retention has its rules',
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
      `${name} must have at least one of ${[...counts, 'within'].join(', ')}: without any of them, all ` +
        'frames but the newest would be pruned',
    )
  }
  return rules
}

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const
const durationWords = "a number of milliseconds > 0, or a string such as '30m', '12h', '7d' or '2w'"

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
