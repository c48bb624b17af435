/** Chooses the engine of a capture: this is the one place that decides. */

import type { EngineName, FaultHandling, MemoryLimitAction, NativeCapabilities } from '../addon/addon.js'
import { StillframeError } from '../base/errors.js'
import type { ResolvedSource } from '../region/source.js'

export type { EngineName, FaultHandling, MemoryLimitAction }

/**
 * Ways in which the kernel may write into the sources during a capture: not at all, through their
 * page table, or past it as well.
 */
export type KernelWrites = boolean | 'direct'

/** The engines, best first: `'auto'` tries them in this order. */
export const engineNames: readonly EngineName[] = ['userfaultfd', 'mprotect', 'fork']

/** The caller's input to the choice. */
export interface EngineWish {
  /** A named engine is used or refused; only `'auto'` falls back. */
  readonly engine: EngineName | 'auto'
  /** Undefined if the caller did not specify it. */
  readonly onMemoryLimit: MemoryLimitAction | undefined
  /** Undefined if the caller did not specify it: `'auto'` then allows for such writes. */
  readonly kernelWrites: KernelWrites | undefined
  /** True to record writes from now on; undefined if the caller did not specify it. */
  readonly trackChanges?: boolean | undefined
  readonly sources: readonly ResolvedSource[]
}

/** An engine, and the handler of its faults. */
export interface EngineChoice {
  readonly engine: EngineName
  readonly faultHandling: FaultHandling
}

/** The machine's input to the choice. */
export interface Machine extends Pick<NativeCapabilities, 'engines' | 'features'> {
  /** Describes the descriptors that direct reads can come from; empty if none are open. */
  directReads(): string
}

/**
 * Chooses the engine for a capture.
 *
 * @throws StillframeError `ERR_STILLFRAME_ENGINE_UNAVAILABLE` with the reason; for `'auto'`, with
 *   the reasons of all engines.
 */
export function chooseEngine(wish: EngineWish, machine: Machine): EngineChoice {
  if (wish.engine === 'auto') return bestOf(wish, machine)
  const refusal = whyNot(wish.engine, wish, machine)
  if (refusal !== undefined) throw unavailable(wish.engine, refusal)
  return { engine: wish.engine, faultHandling: handlingOf(wish.engine, wish, machine) }
}

/**
 * Returns the alternative if the chosen engine turns out not to work at the moment (another capture
 * is write-protecting the memory, or a thread blocks the signal); undefined for an engine that was
 * named, and for fork itself.
 *
 * @returns the reason, as text, if fork cannot be used here either.
 */
export function fallbackOf(
  wish: EngineWish,
  choice: EngineChoice,
  machine: Machine,
): EngineChoice | string | undefined {
  if (wish.engine !== 'auto' || choice.engine === 'fork') return undefined
  return whyNot('fork', asAuto(wish), machine) ?? { engine: 'fork', faultHandling: 'kernel' }
}

/**
 * Explains the choice of this engine: the engines that `'auto'` would have preferred, and the
 * reasons that rule them out.
 */
export function whyChosen(wish: EngineWish, { engine }: EngineChoice, machine: Machine): string {
  if (wish.engine !== 'auto') return 'it was requested by name'
  const better = engineNames.slice(0, engineNames.indexOf(engine))
  if (better.length === 0) return "it is the best engine, which 'auto' uses wherever it can"
  const why = refusals(better, asAuto(wish), machine)
  return `'auto' uses it because the better engines cannot be used: ${why}`
}

/** The first usable engine, in order of preference. */
function bestOf(wish: EngineWish, machine: Machine): EngineChoice {
  const exact = asAuto(wish)
  const engine = engineNames.find((name) => whyNot(name, exact, machine) === undefined)
  if (engine !== undefined) return { engine, faultHandling: handlingOf(engine, exact, machine) }
  throw new StillframeError(
    'ERR_STILLFRAME_ENGINE_UNAVAILABLE',
    `no engine can be used for this capture: ${refusals(engineNames, exact, machine)}`,
  )
}

/**
 * The wish as 'auto' reads it: it allows for writes by the kernel, and with fork it aborts at the
 * limit.
 */
function asAuto(wish: EngineWish): EngineWish {
  return { ...wish, kernelWrites: wish.kernelWrites ?? true, onMemoryLimit: undefined }
}

function refusals(names: readonly EngineName[], wish: EngineWish, machine: Machine): string {
  return names.map((name) => `${name} (${whyNot(name, wish, machine)})`).join(', ')
}

/** The reason why an engine cannot do what is requested, if there is one. */
function whyNot(engine: EngineName, wish: EngineWish, machine: Machine): string | undefined {
  const probe = machine.engines.find(({ name }) => name === engine)
  if (probe === undefined) return 'this build of stillframe does not have it'
  if (!probe.available) return probe.reason
  if (engine === 'fork') {
    if (wish.onMemoryLimit !== 'wait') return undefined
    return "it cannot wait at the memory limit, because the kernel does the copying. Use onMemoryLimit: 'abort'"
  }
  return (
    whyNotInProcess(wish) ??
    (engine === 'mprotect' ? whyNotMprotect(wish) : whyNotUserfaultfd(wish, machine)) ??
    whyNotWithDirectReads(wish, machine)
  )
}

function whyNotInProcess({ engine, sources }: EngineWish): string | undefined {
  const other = engine === 'auto' ? '' : "engine 'fork' or 'auto'"
  const foreign = sources.find(({ region }) => region === undefined)
  if (foreign !== undefined) {
    return (
      `section '${foreign.name}' is ${foreign.kind}, and only the memory of a Region can be write-protected. ` +
      `Allocate it with Region.allocate()${other && `, or use ${other}`}`
    )
  }
  const part = sources.find(({ extent }) => extent !== undefined)
  if (part !== undefined) {
    return (
      `section '${part.name}' is part of a Region, and this engine captures only whole Regions` +
      `${other && `. Use ${other}`}`
    )
  }
  const regions = new Set(sources.map(({ region }) => region))
  if (regions.size === sources.length) return undefined
  return `the same Region is captured under two names${other && `. Use ${other}`}`
}

/**
 * A direct read pins the pages that it fills: the data that it delivers after the freeze bypasses
 * every write protection.
 */
function whyNotWithDirectReads({ kernelWrites }: EngineWish, machine: Machine): string | undefined {
  if (kernelWrites === false) return undefined
  const only = 'only fork freezes memory that the kernel fills without going through the page table'
  if (kernelWrites === 'direct') return `kernelWrites is 'direct', and ${only}`
  // This check comes last, since it examines every descriptor.
  const found = machine.directReads()
  if (found === '') return undefined
  return (
    `${found}, and ${only}. Use engine 'fork' or 'auto', or pass kernelWrites: false if no read fills a ` +
    'source during the capture'
  )
}

function whyNotMprotect({ kernelWrites }: EngineWish): string | undefined {
  if (kernelWrites !== true) return undefined
  return (
    'the kernel cannot write into pages that it protects (fs.read and sockets fail with EFAULT). ' +
    'Pass kernelWrites: false and announce such writes with Region.prepareWrite()'
  )
}

function whyNotUserfaultfd({ kernelWrites, sources }: EngineWish, machine: Machine): string | undefined {
  const mapped = sources.find(({ anonymous }) => !anonymous)
  if (mapped !== undefined) {
    return (
      `section '${mapped.name}' is a mapping of a file, and userfaultfd supports only anonymous memory. ` +
      "Restore it with mode 'copy', or use another engine"
    )
  }
  if (kernelWrites !== true) return undefined
  const thread = feature(machine, 'userfaultfd_thread')
  return thread.available ? undefined : thread.reason
}

/** Fault handling of an engine that has not been refused. */
function handlingOf(engine: EngineName, wish: EngineWish, machine: Machine): FaultHandling {
  if (engine === 'fork') return 'kernel'
  if (engine === 'mprotect' || (wish.kernelWrites === false && !isTracking(wish))) return 'signal'
  return feature(machine, 'userfaultfd_thread').available ? 'thread' : 'signal'
}

/**
 * True if writes to a source are recorded, or are to be recorded from now on. Only the fault thread
 * can do that: between captures the kernel writes too, and stillframe handles no signal.
 */
export function isTracking({ trackChanges, sources }: Pick<EngineWish, 'trackChanges' | 'sources'>): boolean {
  return trackChanges === true || sources.some(({ region }) => region?.tracked)
}

function feature(machine: Machine, wanted: string): EngineProbe {
  return machine.features.find(({ name }) => name === wanted) ?? { available: false, reason: 'unknown' }
}

/** Every engine by name, with the findings of native code about it. */
export function engineProbes({ engines }: Pick<Machine, 'engines'>): Record<EngineName, EngineProbe> {
  const probe = (wanted: EngineName): EngineProbe => {
    const { available, reason } = engines.find(({ name }) => name === wanted) ?? {
      available: false,
      reason: 'this build of stillframe does not have it',
    }
    return { available, reason }
  }
  return { userfaultfd: probe('userfaultfd'), mprotect: probe('mprotect'), fork: probe('fork') }
}

/** Availability of an engine on this machine. */
export interface EngineProbe {
  available: boolean
  /** Reason why it is not available, and what to change; empty if it is available. */
  reason: string
}

function unavailable(engine: EngineName, reason: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_ENGINE_UNAVAILABLE',
    `engine '${engine}' cannot be used: ${reason}`,
  )
}
