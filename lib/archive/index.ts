/**
 * Archives: a history of a service's memory, as frames in a directory or a store, from which the
 * newest frame or that of any given time can be restored.
 *
 * @module stillframe/archive
 */

export { directoryStore } from '../store/directory-store.js'
export type { EncryptionKey, EncryptionOptions, KeyProvider } from '../store/encryption.js'
export type * from '../store/index.js'
export {
  Archive,
  type CaptureOptions,
  type FramesOptions,
  openArchive,
  type PruneOptions,
  type PruneReport,
  type ScheduleOptions,
} from './archive.js'
export type { Frame } from './frame.js'
export type { ArchiveOptions, Duration, Retention } from './options.js'
export type { StoreLag } from './replica-plan.js'
export type { ArchiveRestored, ArchiveRestoreOptions, SkippedFrame } from './restore.js'
export { Schedule, type ScheduledSources, type StopOptions } from './schedule.js'
export {
  type CommitSetOptions,
  commitSet,
  dropSet,
  type FrameSet,
  listSets,
  type RestoreSetOptions,
  restoreSet,
  type SetMember,
  type SetOptions,
  shardStore,
} from './sets.js'
export type {
  ArchiveNow,
  CaptureTrace,
  PruneOutcome,
  PruneTrace,
  StoreLagMessage,
  UploadOutcome,
  UploadTrace,
} from './trace.js'
export type { ArchiveProblem, ArchiveReport, ArchiveVerifyOptions, FrameReport } from './verify.js'
