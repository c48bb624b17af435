/** Limits on what a file may demand of the process that reads it. */

import { maxMetadataBytes, maxMetadataDepth, maxMetadataValues } from '../base/metadata.js'
import { checkInteger, checkOptions } from '../base/validate.js'

/** Maximum number of sections in a file. */
export const maxSections = 65_535

/**
 * A budget for files of unknown origin. A file that demands more is refused with a RangeError
 * (`ERR_OUT_OF_RANGE`) before it gets any resources. The defaults accept every file that
 * `snapshot()` writes, except that `restore()` refuses a file with more sections than the process
 * can spare mappings (`mappings`).
 */
export interface ReadLimits {
  /** Maximum number of sections, an integer >= 1. Default 65,535, the maximum of the format. */
  sections?: number | undefined
  /**
   * For `restore()`: maximum number of memory mappings that it may make, one for each region; an
   * integer >= 0. Default: half of what `vm.max_map_count` leaves to the process, which cannot
   * continue once it has none left.
   */
  mappings?: number | undefined
  /**
   * Maximum size of the metadata in bytes, an integer >= 0. Default 64 MiB, the maximum of the
   * format.
   */
  metadataBytes?: number | undefined
  /**
   * Maximum number of values in the metadata, at all levels together; an integer >= 0. Default
   * 250,000.
   */
  metadataValues?: number | undefined
  /**
   * Maximum nesting depth of arrays and objects in the metadata, an integer >= 0. Default 1,000.
   */
  metadataDepth?: number | undefined
}

/** The limits with all defaults filled in. */
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
