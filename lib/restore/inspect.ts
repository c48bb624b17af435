/**
 * Reading a snapshot file without its memory: what it says about itself, and whether it is sound.
 */

import type { ImageInfo, InspectPlan } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { CallSite, messageOf } from '../base/errors.js'
import { decodeMetadata, type JsonValue } from '../base/metadata.js'
import { checkPath } from '../base/path.js'
import { printable } from '../base/printable.js'
import type { ReadProgress } from '../base/progress.js'
import { idFromBytes } from '../base/snapshot-id.js'
import { checkCallback, checkInteger, checkOptions, checkSignal } from '../base/validate.js'
import { checkLimits, type ReadLimits } from './limits.js'
import { checkParents, type ParentOptions } from './parents.js'
import { type JobCallback, runJob } from './read-job.js'

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

/**
 * Reads and checks the header, the sections and the metadata of a snapshot file. It reads no page
 * data, so it is quick whatever the size of the file, and says nothing about the pages: that is
 * what {@link verify} does. `Meta`, the type of the metadata, is the caller's word: it is not
 * checked.
 *
 * Rejects with TypeError or RangeError for wrong arguments and for a file that asks for more than
 * `limits` allow, and with a StillframeError: `FORMAT`, `VERSION`, `CORRUPT`, `IO`.
 */
export async function inspect<Meta = JsonValue>(
  path: string | URL,
  options?: InspectOptions,
): Promise<SnapshotInfo<Meta>> {
  const callSite = new CallSite(inspect)
  const file = checkPath(path, 'read')
  const given = checkOptions(options, ['limits', 'parents'])
  const plan: InspectPlan = {
    path: file,
    parents: checkParents(given.parents),
    limits: checkLimits(given.limits),
  }
  const addon = loadAddon()
  const start = (callback: JobCallback<ImageInfo>) => addon.inspect(plan, callback)
  const none = { signal: undefined, onProgress: undefined, discard: undefined }
  return toSnapshotInfo<Meta>(await runJob({ path: file, callSite, start, ...none }), file)
}

/**
 * Checks every byte of a snapshot file. Damage is not an error: it is in the report, and so is a
 * file that is no snapshot at all.
 *
 * Rejects with TypeError or RangeError for wrong arguments and for a file that asks for more than
 * `limits` allow, with the signal's reason, and with a StillframeError: `IO` if the file cannot be
 * read, `VERSION` if its format is newer.
 */
export async function verify(path: string | URL, options?: VerifyOptions): Promise<VerifyReport> {
  const callSite = new CallSite(verify)
  const file = checkPath(path, 'read')
  const given = checkOptions(options, ['signal', 'onProgress', 'maxProblems', 'limits', 'parents'])
  const signal = checkSignal(given.signal, 'options.signal')
  const onProgress = checkCallback<(progress: ReadProgress) => void>(given.onProgress, 'options.onProgress')
  const maxProblems =
    given.maxProblems === undefined
      ? 100
      : checkInteger(given.maxProblems, 'options.maxProblems', 1, 1_000_000)
  const limits = checkLimits(given.limits)
  const parents = checkParents(given.parents)

  const addon = loadAddon()
  const found = await runJob({
    path: file,
    callSite,
    signal,
    onProgress,
    start: (callback: JobCallback<Found>) =>
      addon.verify({ path: file, parents, maxProblems, limits }, (failure, value) => {
        // A snapshot whose first bytes are damaged is no different from a file that never was one.
        if (failure?.failure !== 'FORMAT') callback(failure, value)
        else {
          const problem = { offset: failure.offset, section: '', reason: failure.message }
          callback(null, { problems: [problem], info: undefined })
        }
      }),
    discard: undefined,
  })
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
    report.info = toSnapshotInfo(found.info, file)
  } catch (error) {
    // Metadata that is no JSON is one more piece of damage.
    report.ok = false
    report.problems.push({ reason: messageOf(error) })
  }
  return report
}

/** What native code read, in the form that users see. */
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

type Found = { problems: { offset: number; section: string; reason: string }[]; info: ImageInfo | undefined }
