/**
 * Reads snapshots anywhere: on every platform that Node runs on, and without the native addon.
 *
 * It is slower than `stillframe`, which is for the machines on which snapshots are taken. It reads
 * the same files, makes the same checks, and reports the same errors. See docs/READER.md.
 *
 * @module stillframe/reader
 */

export { StillframeError, type StillframeErrorCode, type StillframeErrorDetails } from '../base/errors.js'
export type { JsonValue } from '../base/metadata.js'
export type { ReadProgress } from '../base/progress.js'
export type { SectionInfo, SnapshotInfo, VerifyProblem, VerifyReport } from '../image/info.js'
export type { ReadLimits } from '../image/limits.js'
export { type ReadValuesOptions, readValues } from '../values/values.js'
export type { OpenOptions, ReadOptions, RestoreOptions, VerifyOptions } from './options.js'
export { openSnapshot, SnapshotFile } from './snapshot-file.js'
export type { BlobLike, RandomAccess, SnapshotSource } from './source.js'
export { inspect, type RestoredMemory, restore, verify } from './whole-file.js'
