/** Which engine captures: this is the one place that decides. */

import type { EngineName, FaultHandling, MemoryLimitAction, NativeCapabilities } from '../addon/addon.js'
import { StillframeError } from '../base/errors.js'
import type { ResolvedSource } from '../region/source.js'

export type { EngineName, FaultHandling, MemoryLimitAction }

/**
 * How the kernel may write into the sources during a capture: not at all, through their page table,
 * or past it as well.
 */
export type KernelWrites = boolean | 'direct'

/** The best one first: `'auto'` tries them in this order. */
export const engineNames: readonly EngineName[] = ['userfaultfd', 'mprotect', 'fork']

/** What the choice depends on. */
export interface EngineWish {
  /** An engine that is named is used or refused; only `'auto'` falls back. */
  readonly engine: EngineName | 'auto'
  /** Undefined if the caller did not say. */
  readonly onMemoryLimit: MemoryLimitAction | undefined
  /** Undefined if the caller did not say: `'auto'` then allows for them. */
  readonly kernelWrites: KernelWrites | undefined
  /** Whether record is to be kept of writes from now on; undefined if the caller did not say. */
  readonly trackChanges?: boolean | undefined
  readonly sources: readonly ResolvedSource[]
}

/** An engine, and what answers its faults. */
export interface EngineChoice {
  readonly engine: EngineName
  readonly faultHandling: FaultHandling
}

/** What the choice must know of the machine. */
export interface Machine extends Pick<NativeCapabilities, 'engines' | 'features'> {
  /** What direct reads may come from, in words; empty if there is nothing of that kind. */
  directReads(): string
}

/**
 * The engine for a capture.
 *
 * @throws StillframeError `ERR_STILLFRAME_ENGINE_UNAVAILABLE` with the reason; for `'auto'`, with
 *   those of all engines.
 */
export function chooseEngine(wish: EngineWish, machine: Machine): EngineChoice {
  if (wish.engine === 'auto') return bestOf(wish, machine)
  const refusal = whyNot(wish.engine, wish, machine)
  if (refusal !== undefined) throw unavailable(wish.engine, refusal)
  return { engine: wish.engine, faultHandling: handlingOf(wish.engine, wish, machine) }
}

/**
 * What to try if the chosen engine turns out not to work just now (another capture is
 * write-protecting the memory, or a thread blocks the signal): undefined for an engine that was
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
 * Why this engine was chosen: the engines that `'auto'` would have preferred, and what rules them
 * out.
 */
export function whyChosen(wish: EngineWish, { engine }: EngineChoice, machine: Machine): string {
  if (wish.engine !== 'auto') return 'it was asked for by name'
  const better = engineNames.slice(0, engineNames.indexOf(engine))
  if (better.length === 0) return "it is the best one, which 'auto' takes wherever it can be used"
  return `'auto' takes it because others cannot be used: ${refusals(better, asAuto(wish), machine)}`
}

/** The first in order of preference that can be used. */
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
 * What 'auto' makes of a wish: it allows for writes by the kernel, and if it comes to fork, it
 * aborts at the limit.
 */
function asAuto(wish: EngineWish): EngineWish {
  return { ...wish, kernelWrites: wish.kernelWrites ?? true, onMemoryLimit: undefined }
}

function refusals(names: readonly EngineName[], wish: EngineWish, machine: Machine): string {
  return names.map((name) => `${name} (${whyNot(name, wish, machine)})`).join(', ')
}

/** The reason why an engine cannot do what was asked for, if there is one. */
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
    return `section '${part.name}' is a part of a Region, and this engine captures whole ones${other && `. Use ${other}`}`
  }
  const regions = new Set(sources.map(({ region }) => region))
  if (regions.size === sources.length) return undefined
  return `the same Region is captured under two names${other && `. Use ${other}`}`
}

/**
 * Such a read pins the pages that it fills: whatever it brings after the freeze passes by every
 * write protection.
 */
function whyNotWithDirectReads({ kernelWrites }: EngineWish, machine: Machine): string | undefined {
  if (kernelWrites === false) return undefined
  const only = 'only fork freezes memory that the kernel fills past the page table'
  if (kernelWrites === 'direct') return `kernelWrites is 'direct', and ${only}`
  // This comes last, since it asks every descriptor.
  const found = machine.directReads()
  if (found === '') return undefined
  return `${found}, and ${only}. Use engine 'fork' or 'auto', or say kernelWrites: false if no read fills a source meanwhile`
}

function whyNotMprotect({ kernelWrites }: EngineWish): string | undefined {
  if (kernelWrites !== true) return undefined
  return (
    'the kernel cannot write into pages that it protects (fs.read and sockets fail with EFAULT). ' +
    'Say kernelWrites: false and announce such writes with Region.prepareWrite()'
  )
}

function whyNotUserfaultfd({ kernelWrites, sources }: EngineWish, machine: Machine): string | undefined {
  const mapped = sources.find(({ anonymous }) => !anonymous)
  if (mapped !== undefined) {
    return (
      `section '${mapped.name}' is a mapping of a file, and userfaultfd takes anonymous memory only. ` +
      "Restore it with mode 'copy', or use another engine"
    )
  }
  if (kernelWrites !== true) return undefined
  const thread = feature(machine, 'userfaultfd_thread')
  return thread.available ? undefined : thread.reason
}

/** For an engine that has not been refused. */
function handlingOf(engine: EngineName, wish: EngineWish, machine: Machine): FaultHandling {
  if (engine === 'fork') return 'kernel'
  if (engine === 'mprotect' || (wish.kernelWrites === false && !isTracking(wish))) return 'signal'
  return feature(machine, 'userfaultfd_thread').available ? 'thread' : 'signal'
}

/**
 * Whether record is kept of what is written to a source, or is to be from now on. Only the fault
 * thread can do that: between captures the kernel writes, too, and no signal is ours.
 */
export function isTracking({ trackChanges, sources }: Pick<EngineWish, 'trackChanges' | 'sources'>): boolean {
  return trackChanges === true || sources.some(({ region }) => region?.tracked)
}

function feature(machine: Machine, wanted: string): EngineProbe {
  return machine.features.find(({ name }) => name === wanted) ?? { available: false, reason: 'not known' }
}

/** Every engine by name, with what native code found out about it. */
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

/** Whether an engine can be used here. */
export interface EngineProbe {
  available: boolean
  /** Why it is not available, and what to change; empty if it is. */
  reason: string
}

function unavailable(engine: EngineName, reason: string): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_ENGINE_UNAVAILABLE',
    `engine '${engine}' cannot be used: ${reason}`,
  )
}
