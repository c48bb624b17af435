/**
 * What a snapshot file says about itself, and what is wrong with it: in the form in which those who
 * read the bytes tell it, and in the one that users see.
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
  /** Bytes of the section that the file stores (whole blocks that are all zero are holes). */
  storedBytes: number
  /** Offset in the file of byte 0 of the section; packed layout: 0. */
  fileOffset: number
}

export interface ImageInfo {
  id: Uint8Array
  /** Undefined: a full file. */
  parentId: Uint8Array | undefined
  versionMajor: number
  versionMinor: number
  layout: string
  frozenAtMs: number
  pageSize: number
  blockSize: number
  fileSize: number
  /** Blocks on disk times 512, as `stat` says: holes do not count. */
  allocatedBytes: number
  /** JSON text or undefined. */
  metadata: string | undefined
  sections: ImageSection[]
}

export interface ImageProblem {
  offset: number
  section: string
  reason: string
}

/** What a look at every byte has found. */
export interface FoundProblems {
  problems: ImageProblem[]
  /** Undefined if the file is too damaged to tell. */
  info: ImageInfo | undefined
}

/** One named piece of memory in a file. */
export interface SectionInfo {
  name: string
  /** Bytes of memory. */
  byteLength: number
  /**
   * Bytes that the file stores of it, after compression if there is any; zero blocks take no space.
   */
  storedBytes: number
  /**
   * Offset in the file of the section's first byte; 0 in a packed file, whose blocks may lie
   * anywhere.
   */
  fileOffset: number
}

/** What a snapshot file says about itself. All sizes are in bytes. */
export interface SnapshotInfo<Meta = JsonValue> {
  /** UUID, the same as `Snapshot.id` of the capture that wrote it. */
  id: string
  /** UUID of the snapshot that this one builds on; absent: it is a full one. */
  parentId?: string
  /** Of the file format. */
  version: { major: number; minor: number }
  /**
   * `'flat'`: sections lie in the file as they lay in memory. `'packed'`: compressed, block by
   * block.
   */
  layout: string
  /** The instant whose memory the file holds. */
  frozenAt: Date
  pageSize: number
  blockSize: number
  /** Length of the file, including its holes. */
  fileSize: number
  /** What the file takes on the disk. */
  allocatedBytes: number
  /** Bytes of memory in all sections together. */
  byteLength: number
  /** As given to `snapshot()`; undefined if there was none. */
  metadata: Meta | undefined
  /** In the order in which they were given to `snapshot()`. */
  sections: SectionInfo[]
}

/** One piece of damage in a file. */
export interface VerifyProblem {
  /** Bytes from the start of the file; absent if the problem has no place. */
  offset?: number
  /** Absent if the damage is outside all sections. */
  section?: string
  reason: string
}

/** What `verify()` found. */
export interface VerifyReport {
  /** True when there are no problems. */
  ok: boolean
  /** In the order of the file; at most `maxProblems`. */
  problems: VerifyProblem[]
  /** Absent if the file is too damaged to tell. */
  info?: SnapshotInfo
}

/** Options of {@link verify}. */
export interface VerifyOptions extends ParentOptions {
  /** Aborts the check, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Called about every 100 ms, and once at the end. */
  onProgress?: ((progress: ReadProgress) => void) | undefined
  /** The number of problems after which to stop, an integer from 1 to 1,000,000. Default 100. */
  maxProblems?: number | undefined
  /** What the file may ask for. */
  limits?: ReadLimits | undefined
}

/** Options of {@link inspect}. */
export interface InspectOptions extends ParentOptions {
  /** What the file may ask for. */
  limits?: ReadLimits | undefined
}

/** @internal What a look at every byte is asked for, apart from where the files are. */
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

/** What was read, in the form that users see. */
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

/** What was found, in the form that users see. */
export function toVerifyReport(found: FoundProblems, path: string): VerifyReport {
  const report: VerifyReport = {
    ok: found.problems.length === 0,
    problems: found.problems.map(({ offset, section, reason }) => ({
      ...(offset >= 0 && { offset }),
      ...(section !== '' && { section }),
      // It may quote the file.
      reason: printable(reason),
    })),
  }
  if (found.info === undefined) return report
  try {
    report.info = toSnapshotInfo(found.info, path)
  } catch (error) {
    // Metadata that is no JSON is one more piece of damage.
    report.ok = false
    report.problems.push({ reason: messageOf(error) })
  }
  return report
}
