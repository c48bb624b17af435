/** Capabilities and hazards of this machine. */

import type { Addon } from '../addon/addon.js'
import { whyNoHeapAddon } from '../addon/heap-addon.js'
import { loadAddon } from '../addon/load.js'
import { fromNative } from '../base/errors.js'
import { type EngineName, type EngineProbe, engineProbes, type Machine } from './engines.js'

/** A property of this machine or process that may make snapshots fail or harm the service. */
export interface Hazard {
  /** Stable, in capitals, such as `'CGROUP_OOM_GROUP'`; docs/OPERATIONS.md lists all of them. */
  code: string
  /** Human-readable description of what may happen, and what to change. */
  message: string
}

/** A feature that was tried out, and whether it works. */
export interface FeatureInfo {
  available: boolean
  /** Reason why it is not available, and what to change; empty if it is available. */
  reason: string
}

/** Result of {@link capabilities}. */
export interface Capabilities {
  /** Name, release and architecture of the kernel, such as `'Linux 6.1.0-18-amd64 x86_64'`. */
  kernel: string
  /** Size of a memory page, in bytes. */
  pageSize: number
  engines: Record<EngineName, EngineProbe>
  /** Features by name: `clone3`, `close_range`, `huge_pages`, and others. */
  features: Record<string, FeatureInfo>
  /** Availability of `stillframe/heap`, whose addon is built for each major version of Node. */
  heap: FeatureInfo
  hazards: Hazard[]
}

/**
 * Probes the engines and the kernel features by using them, and lists the hazards of this machine
 * that do not depend on what is captured; {@link preflight} knows more about a particular capture.
 *
 * @throws StillframeError `UNSUPPORTED_PLATFORM`, `ABI`.
 */
export function capabilities(): Capabilities {
  const addon = loadAddon()
  try {
    const { kernel, pageSize, engines, features, hazards } = addon.capabilities()
    const whyNoHeap = whyNoHeapAddon()
    return {
      kernel,
      pageSize,
      engines: engineProbes({ engines }),
      features: Object.fromEntries(
        features.map(({ name, available, reason }) => [name, { available, reason }]),
      ),
      heap: { available: whyNoHeap === undefined, reason: whyNoHeap ?? '' },
      hazards: hazards.map(({ code, message }) => ({ code, message })),
    }
  } catch (error) {
    throw fromNative(error, undefined, capabilities)
  }
}

let machine: ReturnType<Addon['engines']> | undefined

/**
 * The input for the choice of an engine. The engines are probed only once, since a capture would
 * pay for it in its pause; descriptors are examined when they are asked for.
 */
export function knownMachine(addon: Addon): Machine {
  let directReads: string | undefined
  return {
    ...knownEngines(addon),
    directReads: () => {
      directReads ??= addon.directReads()
      return directReads
    },
  }
}

function knownEngines(addon: Addon): ReturnType<Addon['engines']> {
  if (machine !== undefined) return machine
  const found = addon.engines()
  // A feature that only lacked a descriptor or memory may be available next time.
  if (!found.features.some(({ passing }) => passing)) machine = found
  return found
}
