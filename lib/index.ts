/**
 * stillframe: point-in-time snapshots of big memory in a running service.
 *
 * Importing it does nothing and works on every platform; the native addon is loaded on first use.
 */

export { type Capabilities, capabilities, type FeatureInfo, type Hazard } from './capabilities.js'
export type { EngineName, EngineProbe, FaultHandling, MemoryLimitAction } from './engines.js'
export { StillframeError, type StillframeErrorCode, type StillframeErrorDetails } from './errors.js'
export type { WebAssemblyMemory } from './extent.js'
export {
  type InspectOptions,
  inspect,
  type SectionInfo,
  type SnapshotInfo,
  type VerifyOptions,
  type VerifyProblem,
  type VerifyReport,
  verify,
} from './inspect.js'
export type { ReadLimits } from './limits.js'
export type { JsonOf, JsonValue } from './metadata.js'
export type { Compression, SnapshotOptions } from './options.js'
export { type Preflight, preflight } from './preflight.js'
export type { ReadProgress, SnapshotProgress } from './progress.js'
export { Region, type RegionOptions } from './region.js'
export { Restored, type RestoreOptions, type RestoreTarget, restore } from './restore.js'
export { Snapshot, type SnapshotResult, snapshot } from './snapshot.js'
export type { Source } from './source.js'
