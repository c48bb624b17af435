/** Options of the reader and their checks. */

import { invalidArgType, invalidArgValue } from '../base/errors.js'
import { checkPlace } from '../base/path.js'
import type { ReadProgress } from '../base/progress.js'
import {
  checkBoolean,
  checkCallback,
  checkOptions,
  checkSectionName,
  checkSignal,
  optionalInteger,
} from '../base/validate.js'
import { checkSweepOptions, sweepOptionNames } from '../image/info.js'
import { checkLimits, type NativeReadLimits, type ReadLimits } from '../image/limits.js'
import type { Place } from './chain.js'
import { checkSource, type SnapshotSource } from './source.js'

/** Options of all functions that open a snapshot. */
export interface OpenOptions {
  /**
   * Where to find the parents of a delta: files, directories (without their subdirectories), and
   * sources that are not files. Parents are recognized by their id. Default: the directory of each
   * file that has a parent; a source that is not a path has no default.
   */
  parents?: SnapshotSource | readonly SnapshotSource[] | undefined
  /** Limits of what the file may demand. `mappings` is ignored here. */
  limits?: ReadLimits | undefined
}

/** Options of {@link verify}. */
export interface VerifyOptions extends OpenOptions {
  /** Aborts the check, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Called about every 100 ms, and once at the end. */
  onProgress?: ((progress: ReadProgress) => void) | undefined
  /** The number of problems after which to stop, an integer from 1 to 1,000,000. Default 100. */
  maxProblems?: number | undefined
}

/** Options of {@link restore}. */
export interface RestoreOptions extends OpenOptions {
  /** Sections to restore, at least one. Default: all. */
  sections?: readonly string[] | undefined
  /**
   * True (default): all bytes are read and their checksums compared before any memory is returned.
   * False: the pages are trusted.
   */
  verify?: boolean | undefined
  /**
   * Maximum total size of the sections to restore, in bytes: an integer >= 1. Larger sections are
   * refused with a RangeError before any memory is allocated. Default: no limit.
   */
  maxBytes?: number | undefined
  /** Aborts the restore, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Called about every 100 ms, and once at the end. */
  onProgress?: ((progress: ReadProgress) => void) | undefined
}

/**
 * Options of {@link SnapshotFile.read} and {@link SnapshotFile.chunks}: the range of the section.
 */
export interface ReadOptions {
  /** Offset of the first byte, an integer >= 0. Default 0. */
  start?: number | undefined
  /**
   * Offset after the last byte, an integer up to the length of the section, which is the default.
   */
  end?: number | undefined
  /** False: the checksums of pages are not compared. Default true. */
  verify?: boolean | undefined
  /** Aborts the read, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

const openOptionNames = ['parents', 'limits'] as const

export interface OpenWish {
  readonly places: readonly Place[]
  readonly limits: NativeReadLimits
}

/** @throws TypeError, RangeError. */
export function checkOpenOptions(options: unknown): OpenWish {
  return openWishOf(checkOptions(options, openOptionNames))
}

function openWishOf({
  parents,
  limits,
}: {
  readonly parents?: unknown
  readonly limits?: unknown
}): OpenWish {
  return { places: checkPlaces(parents), limits: checkLimits(limits) }
}

function checkPlaces(parents: unknown): Place[] {
  if (parents === undefined) return []
  if (!Array.isArray(parents)) return [checkParent(parents, 'options.parents')]
  return parents.map((parent, index) => checkParent(parent, `options.parents[${index}]`))
}

/** Checks a place for parents. A path may also be that of a directory. */
function checkParent(parent: unknown, name: string): Place {
  const isPath = typeof parent === 'string' || typeof (parent as Partial<URL> | null)?.href === 'string'
  return isPath ? checkPlace(parent, name) : checkSource(parent, name)
}

/** @throws TypeError, RangeError. */
export function checkVerifyOptions(options: unknown): OpenWish & ReturnType<typeof checkSweepOptions> {
  const given = checkOptions(options, [...openOptionNames, ...sweepOptionNames])
  return { ...openWishOf(given), ...checkSweepOptions(given) }
}

/** Checks the options that apply to a file that is already open. @throws TypeError, RangeError. */
export function checkOwnVerifyOptions(options: unknown): ReturnType<typeof checkSweepOptions> {
  return checkSweepOptions(checkOptions(options, sweepOptionNames))
}

export interface RestoreWish extends OpenWish {
  readonly sections: ReadonlySet<string> | undefined
  readonly verify: boolean
  readonly maxBytes: number | undefined
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: ReadProgress) => void) | undefined
}

/** @throws TypeError, RangeError. */
export function checkRestoreOptions(options: unknown): RestoreWish {
  const own = ['sections', 'verify', 'maxBytes', 'signal', 'onProgress'] as const
  const given = checkOptions(options, [...openOptionNames, ...own])
  return {
    ...openWishOf(given),
    sections: checkSections(given.sections),
    verify: checkBoolean(given.verify, 'options.verify', true),
    maxBytes: optionalInteger(given.maxBytes, 'options.maxBytes', 1, Number.MAX_SAFE_INTEGER),
    signal: checkSignal(given.signal, 'options.signal'),
    onProgress: checkCallback<(progress: ReadProgress) => void>(given.onProgress, 'options.onProgress'),
  }
}

function checkSections(sections: unknown): ReadonlySet<string> | undefined {
  if (sections === undefined) return undefined
  if (!Array.isArray(sections)) {
    throw invalidArgType('options.sections', 'an array of section names', sections)
  }
  const names = sections.map((name, index) => checkSectionName(name, `options.sections[${index}]`))
  if (names.length === 0) throw invalidArgValue('options.sections must name at least one section')
  return new Set(names)
}

export interface ReadWish {
  readonly start: number | undefined
  readonly end: number | undefined
  readonly verify: boolean
  readonly signal: AbortSignal | undefined
}

/** @throws TypeError, RangeError. */
export function checkReadOptions(options: unknown): ReadWish {
  const given = checkOptions(options, ['start', 'end', 'verify', 'signal'])
  return {
    start: optionalInteger(given.start, 'options.start', 0, Number.MAX_SAFE_INTEGER),
    end: optionalInteger(given.end, 'options.end', 0, Number.MAX_SAFE_INTEGER),
    verify: checkBoolean(given.verify, 'options.verify', true),
    signal: checkSignal(given.signal, 'options.signal'),
  }
}
