/**
 * Which engine captures: the one place that decides. This version has `fork` only; `userfaultfd` and
 * `mprotect` join here.
 */

import type { FeatureProbe } from './addon.js'
import { StillframeError } from './errors.js'
import type { ResolvedSource } from './source.js'

/** How the memory is frozen; see docs/ENGINES.md. */
export type EngineName = 'userfaultfd' | 'mprotect' | 'fork'

/** What to do when copy-on-write has taken `memoryLimit`. */
export type MemoryLimitAction = 'wait' | 'abort'

export const engineNames: readonly EngineName[] = ['userfaultfd', 'mprotect', 'fork']

const built: readonly EngineName[] = ['fork']

/** What the choice depends on. */
export interface EngineWish {
  /** An engine asked for by name is used or refused; only 'auto' falls back. */
  readonly engine: EngineName | 'auto'
  /** Undefined when the caller did not say. */
  readonly onMemoryLimit: MemoryLimitAction | undefined
  readonly sources: readonly ResolvedSource[]
}

/**
 * The engine for a capture.
 *
 * @throws StillframeError `ERR_STILLFRAME_ENGINE_UNAVAILABLE` with the reason, for an engine by name only.
 */
export function chooseEngine({ engine, onMemoryLimit, sources }: EngineWish): EngineName {
  if (engine === 'auto') return 'fork'
  if (engine === 'fork') {
    if (onMemoryLimit === 'wait') {
      throw unavailable(
        engine,
        "it cannot wait at the memory limit, because the kernel does the copying. Use onMemoryLimit: 'abort'",
      )
    }
    return engine
  }
  const foreign = sources.find(({ region }) => region === undefined)
  if (foreign !== undefined) {
    throw unavailable(
      engine,
      `section '${foreign.name}' is ${foreign.kind}, and only the memory of a Region can be write-protected. ` +
        "Allocate it with Region.allocate(), or use engine 'fork' or 'auto'",
    )
  }
  throw unavailable(engine, `${notBuilt}. Use engine 'fork' or 'auto'`)
}

/** Every engine by name, with what native code found out about those that exist. */
export function engineProbes(native: readonly FeatureProbe[]): Record<EngineName, EngineProbe> {
  const probe = (name: EngineName): EngineProbe => {
    const found = native.find((candidate) => candidate.name === name)
    if (!built.includes(name) || found === undefined) return { available: false, reason: notBuilt }
    return { available: found.available, reason: found.reason }
  }
  return { userfaultfd: probe('userfaultfd'), mprotect: probe('mprotect'), fork: probe('fork') }
}

/** Whether an engine can be used here. */
export interface EngineProbe {
  available: boolean
  /** Why not, and what to change; empty when available. */
  reason: string
}

const notBuilt = 'this version of stillframe does not have it yet'

function unavailable(engine: EngineName, reason: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_ENGINE_UNAVAILABLE',
    `engine '${engine}' cannot be used: ${reason}`,
  )
}
