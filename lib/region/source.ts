/** Sources of a snapshot: from the caller's memory to addresses for native code. */

import type { Addon, NativeSource, RegionHandle } from '../addon/addon.js'
import { invalidArgType, invalidArgValue } from '../base/errors.js'
import { checkSectionName } from '../base/validate.js'
import { maxSections } from '../image/limits.js'
import {
  bufferOf,
  bufferOfMemory,
  type Extent,
  extentOf,
  isResizable,
  type WebAssemblyMemory,
} from './extent.js'
import {
  type AnyRegion,
  fullHandle,
  isAnonymous,
  isRegion,
  type Region,
  regionOfBuffer,
  wantsHugePages,
} from './region.js'

/**
 * Memory to capture. A typed array or DataView covers its own bytes only, and a
 * `WebAssembly.Memory` its size at the call.
 */
export type Source =
  | Region<ArrayBufferLike>
  | ArrayBuffer
  | SharedArrayBuffer
  | ArrayBufferView
  | WebAssemblyMemory

/** Section name of a source that was given without a name. */
export const loneSectionName = 'main'

/** A checked source. Native code has not been called yet. */
export interface ResolvedSource {
  /** Section name. */
  readonly name: string
  readonly byteLength: number
  /** Set if the memory is a region or a part of one. */
  readonly region: RegionHandle | undefined
  /** Undefined for a whole region. */
  readonly extent: Extent | undefined
  /**
   * True if V8 excludes this memory from child processes; undefined if the kernel has to be asked.
   */
  readonly dontFork: boolean | undefined
  /** True for the memory of a Region, unless it is a file mapping. */
  readonly anonymous: boolean
  /** True if huge pages were requested. */
  readonly hugePages: boolean
  /** Description of the caller's value, for error messages. */
  readonly kind: string
}

const expected = 'a Region, ArrayBuffer, SharedArrayBuffer, typed array, DataView or WebAssembly.Memory'

/**
 * Checks a lone source, or an object that maps section names to sources.
 *
 * @throws TypeError for a value that is not a source, for an invalid section name and for detached
 *   memory; StillframeError `ERR_STILLFRAME_CLOSED` for a closed region, `ERR_STILLFRAME_BUSY` for
 *   one that is not completely restored yet.
 */
export function resolveSources(source: unknown): ResolvedSource[] {
  const lone = resolveSource(source, loneSectionName, 'source')
  if (lone !== undefined) return [lone]

  if (typeof source !== 'object' || source === null || Array.isArray(source)) {
    throw invalidArgType('source', `${expected}, or an object of these by section name`, source)
  }
  const entries = Object.entries(source as Record<string, unknown>)
  if (entries.length === 0) {
    throw invalidArgType(
      'source',
      `${expected}, or an object with at least one of these by section name`,
      source,
    )
  }
  if (entries.length > maxSections) {
    throw invalidArgValue(`source must have at most ${maxSections} sections, not ${entries.length}`)
  }
  return entries.map(([name, value]) => {
    checkSectionName(name, 'the name of a section')
    const resolved = resolveSource(value, name, `source['${name}']`)
    if (resolved === undefined) throw invalidArgType(`source['${name}']`, expected, value)
    return resolved
  })
}

function resolveSource(value: unknown, name: string, label: string): ResolvedSource | undefined {
  if (isRegion(value)) return partOfRegion(value, undefined, name, label)
  const memory = bufferOfMemory(value)
  if (memory !== undefined) return foreignMemory(memory, memory, name, label, 'a WebAssembly.Memory')
  const buffer = bufferOf(value)
  if (buffer === undefined) return undefined
  const region = regionOfBuffer(buffer)
  if (region !== undefined) return partOfRegion(region, value, name, label)
  return foreignMemory(value, buffer, name, label, 'memory that is not a Region')
}

/** A region or a view of one. */
function partOfRegion(owner: AnyRegion, view: unknown, name: string, label: string): ResolvedSource {
  // Checked before the bounds: the buffer of a closed region is detached, and "closed" is the
  // better reason.
  const region = fullHandle(owner, `${label} cannot be captured`)
  const part = view === undefined ? undefined : extentOf(view, label)
  const byteLength = part?.byteLength ?? owner.byteLength
  const extent = byteLength === owner.byteLength ? undefined : part
  // Regions are excluded from child processes for life.
  return {
    name,
    byteLength,
    region,
    extent,
    dontFork: true,
    anonymous: isAnonymous(owner),
    hugePages: wantsHugePages(owner),
    kind: 'a Region',
  }
}

/** Memory allocated by V8: a buffer or a view of one. */
function foreignMemory(
  value: unknown,
  buffer: ArrayBufferLike,
  name: string,
  label: string,
  kind: string,
): ResolvedSource {
  const extent = extentOf(value, label) as Extent
  const { byteLength } = extent
  // V8 excludes buffers that may grow from child processes.
  const dontFork = kind === 'a WebAssembly.Memory' || isResizable(buffer) || undefined
  return { name, byteLength, region: undefined, extent, dontFork, anonymous: false, hugePages: false, kind }
}

/**
 * Cache of the kernel's answers, by buffer: the advice on a mapping does not change behind V8's
 * back.
 */
const knownDontFork = new WeakMap<ArrayBufferLike, boolean>()

/**
 * Converts sources to the form that native code takes. The addresses are valid until JavaScript
 * runs again.
 */
export function toNativeSources(sources: readonly ResolvedSource[], addon: Addon): NativeSource[] {
  return sources.map((source) => {
    const { name, byteLength, region, extent } = source
    const dontFork = byteLength > 0 && isDontFork(source, addon)
    return { name, byteLength, dontFork, region, head: extent && headOf(extent) }
  })
}

function headOf({ buffer, byteOffset, byteLength }: Extent): Uint8Array {
  return new Uint8Array(buffer, byteOffset, Math.min(byteLength, 1))
}

/**
 * True if the mapping is excluded from child processes. Among buffers of fixed length, only those
 * of WebAssembly memories are, and a buffer does not reveal that it belongs to one.
 */
function isDontFork({ dontFork, extent }: ResolvedSource, addon: Addon): boolean {
  if (dontFork !== undefined || extent === undefined) return dontFork ?? true
  const { buffer } = extent
  let known = knownDontFork.get(buffer)
  if (known === undefined) {
    // Ask about the first byte of the buffer, not of the view: only mappings that V8 made begin on
    // a page boundary.
    known = addon.isDontFork(new Uint8Array(buffer, 0, 1), buffer.byteLength)
    knownDontFork.set(buffer, known)
  }
  return known
}
