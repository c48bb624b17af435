/**
 * Descriptions of a snapshot file and of the damage in it: in the form that readers of the bytes
 * produce, and in the form that users see.
 */

import { messageOf } from '../base/errors.js'
import { decodeMetadata, type JsonValue } from '../base/metadata.js'
import { printable } from '../base/printable.js'
import type { ReadProgress } from '../base/progress.js'
import { idFromBytes } from '../base/snapshot-id.js'
import { checkCallback, checkInteger, checkSignal, type UncheckedOptions } from '../base/validate.js'
import type { ReadLimits } from './limits.js'
import type { ParentOptions } from './parents.js'

export interface ImageSection {
  name: string
  byteLength: number
  /** Bytes of the section that the file stores (blocks that are entirely zero are holes). */
  storedBytes: number
  /** Offset in the file of byte 0 of the section; 0 in the packed layout. */
  fileOffset: number
}

export interface ImageInfo {
  id: Uint8Array
  /** Undefined for a full file. */
  parentId: Uint8Array | undefined
  versionMajor: number
  versionMinor: number
  layout: string
  frozenAtMs: number
  pageSize: number
  blockSize: number
  fileSize: number
  /** Blocks on disk times 512, as reported by `stat`; holes do not count. */
  allocatedBytes: number
  /** JSON text; undefined if there is none. */
  metadata: string | undefined
  sections: ImageSection[]
}

export interface ImageProblem {
  offset: number
  section: string
  reason: string
}

/** Result of checking every byte. */
export interface FoundProblems {
  problems: ImageProblem[]
  /** Undefined if the file is too damaged to describe. */
  info: ImageInfo | undefined
}

/** A named section of memory in a file. */
export interface SectionInfo {
  name: string
  /** Size in memory, in bytes. */
  byteLength: number
  /**
   * Bytes that the file stores for the section, after compression if there is any; zero blocks take
   * no space.
   */
  storedBytes: number
  /**
   * Offset in the file of the section's first byte; 0 in a packed file, whose blocks may be
   * anywhere.
   */
  fileOffset: number
}

/** Description of a snapshot file. All sizes are in bytes. */
export interface SnapshotInfo<Meta = JsonValue> {
  /** UUID, the same as `Snapshot.id` of the capture that wrote the file. */
  id: string
  /** UUID of the snapshot that this one builds on; absent for a full snapshot. */
  parentId?: string
  /** Version of the file format. */
  version: { major: number; minor: number }
  /**
   * `'flat'`: sections are stored as they were in memory. `'packed'`: sections are stored block by
   * block, for compressed files and for deltas.
   */
  layout: string
  /** The instant at which the memory was frozen. */
  frozenAt: Date
  pageSize: number
  blockSize: number
  /** Length of the file, including its holes. */
  fileSize: number
  /** Bytes that the file occupies on disk; holes do not count. */
  allocatedBytes: number
  /** Total size of all sections in memory. */
  byteLength: number
  /** The metadata given to `snapshot()`; undefined if there was none. */
  metadata: Meta | undefined
  /** In the order in which they were passed to `snapshot()`. */
  sections: SectionInfo[]
}

/** One piece of damage in a file. */
export interface VerifyProblem {
  /** Bytes from the start of the file; absent if the problem has no location. */
  offset?: number
  /** Absent if the damage is outside all sections. */
  section?: string
  reason: string
}

/** Result of `verify()`. */
export interface VerifyReport {
  /** True if there are no problems. */
  ok: boolean
  /** In file order; at most `maxProblems`. */
  problems: VerifyProblem[]
  /** Absent if the file is too damaged to describe. */
  info?: SnapshotInfo
}

/** Options of {@link verify}. */
export interface VerifyOptions extends ParentOptions {
  /** Aborts the check, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Called about every 100 ms, and once at the end. */
  onProgress?: ((progress: ReadProgress) => void) | undefined
  /** Number of problems after which to stop, an integer from 1 to 1,000,000. Default 100. */
  maxProblems?: number | undefined
  /** Limits on what the file may demand. */
  limits?: ReadLimits | undefined
}

/** Options of {@link inspect}. */
export interface InspectOptions extends ParentOptions {
  /** Limits on what the file may demand. */
  limits?: ReadLimits | undefined
}

/** @internal Names of the options for checking every byte, except those that locate the files. */
export const sweepOptionNames = ['signal', 'onProgress', 'maxProblems'] as const

/** @internal @throws TypeError, RangeError. */
export function checkSweepOptions(given: UncheckedOptions<(typeof sweepOptionNames)[number]>): {
  signal: AbortSignal | undefined
  onProgress: ((progress: ReadProgress) => void) | undefined
  maxProblems: number
} {
  const { signal, onProgress, maxProblems = 100 } = given
  return {
    signal: checkSignal(signal, 'options.signal'),
    onProgress: checkCallback<(progress: ReadProgress) => void>(onProgress, 'options.onProgress'),
    maxProblems: checkInteger(maxProblems, 'options.maxProblems', 1, 1_000_000),
  }
}

/** Converts what was read to the form that users see. */
export function toSnapshotInfo<Meta = JsonValue>(image: ImageInfo, path: string): SnapshotInfo<Meta> {
  return {
    id: idFromBytes(image.id),
    ...(image.parentId !== undefined && { parentId: idFromBytes(image.parentId) }),
    version: { major: image.versionMajor, minor: image.versionMinor },
    layout: image.layout,
    frozenAt: new Date(image.frozenAtMs),
    pageSize: image.pageSize,
    blockSize: image.blockSize,
    fileSize: image.fileSize,
    allocatedBytes: image.allocatedBytes,
    byteLength: image.sections.reduce((sum, section) => sum + section.byteLength, 0),
    metadata: decodeMetadata(image.metadata, path) as Meta | undefined,
    sections: image.sections.map(({ name, byteLength, storedBytes, fileOffset }) => {
      return { name, byteLength, storedBytes, fileOffset }
    }),
  }
}

/** Converts what was found to the form that users see. */
export function toVerifyReport(found: FoundProblems, path: string): VerifyReport {
  const report: VerifyReport = {
    ok: found.problems.length === 0,
    problems: found.problems.map(({ offset, section, reason }) => ({
      ...(offset >= 0 && { offset }),
      ...(section !== '' && { section }),
      // The reason may quote the file.
      reason: printable(reason),
    })),
  }
  if (found.info === undefined) return report
  try {
    report.info = toSnapshotInfo(found.info, path)
  } catch (error) {
    // Metadata that is not JSON is another piece of damage.
    report.ok = false
    report.problems.push({ reason: messageOf(error) })
  }
  return report
}
