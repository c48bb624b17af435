/** How much a file may ask of the process that reads it. */

import { maxMetadataBytes, maxMetadataDepth, maxMetadataValues } from '../base/metadata.js'
import { checkInteger, checkOptions } from '../base/validate.js'

/** The most sections that a file can hold. */
export const maxSections = 65_535

/**
 * A budget for files that somebody else may have made. A file that asks for more is refused with a
 * RangeError (`ERR_OUT_OF_RANGE`) before it gets anything. The defaults accept every file that
 * `snapshot()` writes, but `restore()` refuses one with more sections than the process can spare
 * mappings (`mappings`).
 */
export interface ReadLimits {
  /** The most sections, an integer >= 1. Default 65,535, which is what the format can hold. */
  sections?: number | undefined
  /**
   * For `restore()`: the most mappings of memory that it may make, one for each region; an integer >= 0.
   * Default: half of what `vm.max_map_count` leaves to the process, which cannot go on without any.
   */
  mappings?: number | undefined
  /**
   * The most bytes of metadata, an integer >= 0. Default 64 MiB, which is what the format can hold.
   */
  metadataBytes?: number | undefined
  /** The most values in the metadata, on all levels together; an integer >= 0. Default 250,000. */
  metadataValues?: number | undefined
  /**
   * The most arrays and objects of the metadata within one another, an integer >= 0. Default 1,000.
   */
  metadataDepth?: number | undefined
}

/** The most that a file may ask for, with all defaults filled in. */
export interface NativeReadLimits {
  sections: number
  /** -1: as many as the process can spare. */
  mappings: number
  metadataBytes: number
  metadataValues: number
  metadataDepth: number
}

const known = [
  'sections',
  'mappings',
  'metadataBytes',
  'metadataValues',
  'metadataDepth',
] as const satisfies readonly (keyof ReadLimits)[]

/** Checks `options.limits`. @throws TypeError, RangeError. */
export function checkLimits(limits: unknown): NativeReadLimits {
  const given = checkOptions(limits, known, 'options.limits')
  const limit = (name: keyof ReadLimits, min: number, otherwise: number): number =>
    given[name] === undefined
      ? otherwise
      : checkInteger(given[name], `options.limits.${name}`, min, Number.MAX_SAFE_INTEGER)
  return {
    sections: limit('sections', 1, maxSections),
    mappings: limit('mappings', 0, -1),
    metadataBytes: limit('metadataBytes', 0, maxMetadataBytes),
    metadataValues: limit('metadataValues', 0, maxMetadataValues),
    metadataDepth: limit('metadataDepth', 0, maxMetadataDepth),
  }
}
