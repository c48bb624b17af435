/** Existing memory that a restore fills. */

import { setImmediate } from 'node:timers'
import type { NativeDestination, RegionHandle } from '../addon/addon.js'
import { invalidArgType, invalidArgValue, StillframeError } from '../base/errors.js'
import { checkSectionName } from '../base/validate.js'
import { bufferOf, bufferOfMemory, type Extent, extentOf, type WebAssemblyMemory } from '../region/extent.js'
import { fullHandle, isRegion, type Region, regionOfBuffer } from '../region/region.js'

/** Memory that a section can be restored into, starting at its first byte. */
export type RestoreTarget =
  | Region<ArrayBufferLike>
  | ArrayBuffer
  | SharedArrayBuffer
  | ArrayBufferView
  | WebAssemblyMemory

/** A checked destination. */
export interface ResolvedDestination {
  /** Section name. */
  readonly name: string
  readonly byteLength: number
  /** Set for a whole region. */
  readonly region: RegionHandle | undefined
  /**
   * Locates the bytes at this moment; throws if they are gone. A WebAssembly memory moves when it
   * grows.
   */
  readonly locate: () => Extent
}

const expected = 'a Region, ArrayBuffer, SharedArrayBuffer, typed array, DataView or WebAssembly.Memory'

/**
 * Checks `options.into`.
 *
 * @throws TypeError for a value that is not memory, for detached memory, and for two destinations
 *   that share bytes; StillframeError `ERR_STILLFRAME_CLOSED` for a closed region,
 *   `ERR_STILLFRAME_BUSY` for one that is not completely restored yet.
 */
export function resolveDestinations(into: unknown): ResolvedDestination[] {
  const name = 'options.into'
  if (typeof into !== 'object' || into === null || Array.isArray(into)) {
    throw invalidArgType(name, 'an object of memory by section name', into)
  }
  // The likeliest mistake, because snapshot() does accept a lone source.
  if (isRegion(into) || bufferOf(into) !== undefined || bufferOfMemory(into) !== undefined) {
    throw invalidArgType(name, 'an object of memory by section name, such as { main: memory }', into)
  }
  const destinations = Object.entries(into).map(([section, value]) => resolveDestination(section, value))
  if (destinations.length === 0) throw invalidArgValue(`${name} must name at least one section`)
  refuseOverlap(destinations)
  return destinations
}

function resolveDestination(section: string, value: unknown): ResolvedDestination {
  checkSectionName(section, 'the name of a section in options.into')
  const label = `options.into['${section}']`
  if (isRegion(value)) {
    const region = fullHandle(value, `${label} cannot be filled`)
    const locate = () => extentOf(region.buffer(), label) as Extent
    return { name: section, byteLength: value.byteLength, region, locate }
  }

  const buffer = bufferOfMemory(value) ?? bufferOf(value)
  if (buffer === undefined) throw invalidArgType(label, expected, value)
  const owner = regionOfBuffer(buffer)
  const handle = owner && fullHandle(owner, `${label} cannot be filled`)
  const locate = () => extentOf(bufferOfMemory(value) ?? value, label) as Extent
  const { byteLength } = locate()
  const region = byteLength === owner?.byteLength ? handle : undefined
  return { name: section, byteLength, region, locate }
}

/** Refuses destinations that overlap: the last section would silently overwrite the others. */
function refuseOverlap(destinations: readonly ResolvedDestination[]): void {
  const byBuffer = new Map<ArrayBufferLike, { name: string; start: number; end: number }[]>()
  for (const { name, locate } of destinations) {
    const { buffer, byteOffset, byteLength } = locate()
    const ranges = byBuffer.get(buffer) ?? []
    ranges.push({ name, start: byteOffset, end: byteOffset + byteLength })
    byBuffer.set(buffer, ranges)
  }
  for (const ranges of byBuffer.values()) {
    ranges.sort((a, b) => a.start - b.start)
    ranges.forEach((range, index) => {
      const before = ranges[index - 1]
      if (before === undefined || before.end <= range.start) return
      throw invalidArgValue(
        `options.into: '${before.name}' and '${range.name}' share memory. Give each its own`,
      )
    })
  }
}

/**
 * Converts a destination to the form that native code takes.
 *
 * @param onError - called when the memory is gone, just before that ends the restore.
 */
export function toNativeDestination(
  destination: ResolvedDestination,
  path: string,
  onError: (error: Error) => void,
): NativeDestination & { byteLength: number } {
  const { name, byteLength, region } = destination
  if (region !== undefined) return { name, byteLength, region, onChunk: undefined }
  const onChunk = (byteOffset: number, chunkLength: number, done: () => void): Uint8Array => {
    try {
      const chunk = locateChunk(destination, path, byteOffset, chunkLength)
      // Other work gets a turn of the event loop before the next chunk.
      setImmediate(done)
      return chunk
    } catch (error) {
      onError(error as Error)
      throw error
    }
  }
  return { name, byteLength, region: undefined, onChunk }
}

/**
 * The memory for one chunk. JavaScript memory can be transferred away or shrink between any two
 * chunks, so it is located anew for each chunk.
 */
function locateChunk(
  destination: ResolvedDestination,
  path: string,
  byteOffset: number,
  chunkLength: number,
): Uint8Array {
  const extent = whereNow(destination)
  if (extent === undefined || byteOffset + chunkLength > extent.byteLength) {
    throw new StillframeError(
      'ERR_STILLFRAME_CLOSED',
      `the memory given for section '${destination.name}' was detached, closed or shrunk while it was being filled ` +
        `from '${path}'. Leave it alone until restore() is done`,
      { path },
    )
  }
  return new Uint8Array(extent.buffer, extent.byteOffset + byteOffset, chunkLength)
}

function whereNow(destination: ResolvedDestination): Extent | undefined {
  try {
    return destination.locate()
  } catch {
    return undefined
  }
}
