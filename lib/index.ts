/**
 * Point-in-time snapshots of big memory in a running service.
 *
 * Importing the module has no side effects and works on every platform; the native addon is loaded
 * on first use.
 *
 * @module stillframe
 */

export { StillframeError, type StillframeErrorCode, type StillframeErrorDetails } from './base/errors.js'
export type { JsonOf, JsonValue } from './base/metadata.js'
export type { ReadProgress, SnapshotProgress } from './base/progress.js'
export type { Traced } from './base/tracing.js'
export { type CompactOptions, compact } from './compact/compact.js'
export type { CompactTrace } from './compact/trace.js'
export type {
  InspectOptions,
  SectionInfo,
  SnapshotInfo,
  VerifyOptions,
  VerifyProblem,
  VerifyReport,
} from './image/info.js'
export type { ReadLimits } from './image/limits.js'
export type { ParentOptions } from './image/parents.js'
export { type Capabilities, capabilities, type FeatureInfo, type Hazard } from './machine/capabilities.js'
export type { EngineName, EngineProbe, FaultHandling, MemoryLimitAction } from './machine/engines.js'
export type { WebAssemblyMemory } from './region/extent.js'
export { Region, type RegionOptions } from './region/region.js'
export type { Source } from './region/source.js'
export { inspect, verify } from './restore/inspect.js'
export {
  type FirstUse,
  Restored,
  type RestoreOptions,
  type RestoreTarget,
  restore,
} from './restore/restore.js'
export type { RestoreTrace } from './restore/trace.js'
export type { FileOptions } from './snapshot/file-options.js'
export type { Compression, ParentSnapshot, SnapshotOptions } from './snapshot/options.js'
export { type Preflight, preflight } from './snapshot/preflight.js'
export { Snapshot, type SnapshotResult, snapshot } from './snapshot/snapshot.js'
export type { SnapshotTrace } from './snapshot/trace.js'
