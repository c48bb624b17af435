/** Off-heap memory allocated by stillframe, which every engine can freeze. */

import { type InspectOptions, inspect } from 'node:util'
import type { RegionHandle } from '../addon/addon.js'
import { loadHeapAddon } from '../addon/heap-addon.js'
import { loadAddon } from '../addon/load.js'
import { fromNative, StillframeError } from '../base/errors.js'
import { checkBoolean, checkInteger, checkOptions, checkSectionName } from '../base/validate.js'

/** Options of {@link Region.allocate}. */
export interface RegionOptions {
  /**
   * Name for messages and `util.inspect`, with the rules of a section name (1 to 255 bytes of
   * UTF-8). Default `'main'`.
   */
  name?: string | undefined
  /**
   * True (default): asks the kernel for 2 MiB pages. They are faster to freeze and to access, but
   * memory is then taken 2 MiB at a time. Turn this off for memory that is touched only sparsely.
   */
  hugePages?: boolean | undefined
  /**
   * Makes `buffer` a SharedArrayBuffer (default false): Workers that receive it by `postMessage()`
   * use the same memory. Requires the addon that is built for this major version of Node, as
   * `stillframe/heap` does.
   */
  shared?: boolean | undefined
}

/** A region with either kind of buffer. */
export type AnyRegion = Region<ArrayBufferLike>

/**
 * Maximum size of a region: the address space of a process on x64, which also bounds a section in
 * the file.
 */
const maxRegionBytes = 2 ** 47

// Restricts the constructor to this file, so that a Region always represents memory.
const internal = Symbol('internal')

/**
 * Weak in both directions: a region lives as long as the region, its buffer or a view of it is
 * referenced.
 */
const regionsByBuffer = new WeakMap<ArrayBufferLike, AnyRegion>()

/** Origin of a region's memory. */
interface Origin {
  readonly hugePages: boolean
  /** True if the memory is not a file mapping. */
  readonly anonymous: boolean
}

let makeRegion: (handle: RegionHandle, name: string, origin: Origin) => AnyRegion
let handleOf: (region: AnyRegion) => RegionHandle | undefined
let originOf: (region: AnyRegion) => Origin
let isRegionObject: (value: object) => boolean

/**
 * Page-aligned, zeroed, private memory outside the V8 heap.
 *
 * It is excluded from child processes (so `child_process.spawn` stays fast however large it is) and
 * from core dumps. It lives until `close()`, or until neither the Region nor its buffer is
 * referenced. A region belongs to the thread that created it. Other threads can use its memory if
 * it is allocated with `shared: true`, which makes `buffer` a SharedArrayBuffer.
 */
export class Region<Buffer extends ArrayBufferLike = ArrayBuffer> {
  /** The name given to `allocate()`, or the name of the section that it was restored from. */
  readonly name: string
  /** Size in bytes, as requested; may exceed 4 GiB. It can still be read after `close()`. */
  readonly byteLength: number
  #handle: RegionHandle | undefined
  /**
   * Held here because the handle does not hold it, so that `buffer` stays the same object for as
   * long as the region lives.
   */
  #buffer: Buffer | undefined
  readonly #origin: Origin

  static {
    makeRegion = (...args) => new Region<ArrayBufferLike>(internal, ...args)
    handleOf = (region) => region.#handle
    originOf = (region) => region.#origin
    isRegionObject = (value) => #handle in value
  }

  private constructor(key: symbol, handle: RegionHandle, name: string, origin: Origin) {
    if (key !== internal) throw new TypeError('Region has no public constructor: use Region.allocate()')
    this.name = name
    this.byteLength = handle.byteLength
    this.#handle = handle
    this.#origin = origin
    this.#buffer = handle.buffer() as Buffer
    regionsByBuffer.set(this.#buffer, this)
  }

  /**
   * Allocates a region of zeros. Its pages take no memory until they are first written.
   *
   * @param byteLength - size in bytes, an integer from 0 to 2^47.
   * @throws TypeError, RangeError for wrong arguments.
   * @throws StillframeError `ERR_STILLFRAME_IO` with `errno` if the kernel refuses the memory. With
   *   `shared`: `ERR_STILLFRAME_ABI` if there is no addon for this version of Node, and
   *   `ERR_STILLFRAME_ENGINE_UNAVAILABLE` if this Node does not allow a SharedArrayBuffer over the
   *   memory of an addon.
   */
  static allocate(
    byteLength: number,
    options: RegionOptions & { readonly shared: true },
  ): Region<SharedArrayBuffer>
  static allocate(
    byteLength: number,
    options?: RegionOptions & { readonly shared?: false | undefined },
  ): Region
  static allocate(byteLength: number, options?: RegionOptions): Region<ArrayBufferLike>
  static allocate(byteLength: number, options?: RegionOptions): Region<ArrayBufferLike> {
    const known = checkOptions(options, ['name', 'hugePages', 'shared'])
    const name = known.name === undefined ? 'main' : checkSectionName(known.name, 'options.name')
    const hugePages = checkBoolean(known.hugePages, 'options.hugePages', true)
    const shared = checkBoolean(known.shared, 'options.shared', false)
    checkInteger(byteLength, 'byteLength', 0, maxRegionBytes)
    const { RegionHandle } = loadAddon()
    const makeSharedBuffer = shared ? loadHeapAddon().makeSharedBuffer : undefined
    try {
      const handle = new RegionHandle(byteLength, hugePages, makeSharedBuffer)
      return makeRegion(handle, name, { hugePages, anonymous: true })
    } catch (error) {
      throw fromNative(error, undefined, Region.allocate)
    }
  }

  /**
   * The memory of the whole region; always the same object. On Node 20 a typed array covers at most
   * 4 GiB: access a larger region through several typed arrays, each with its own `byteOffset`.
   *
   * @throws StillframeError `ERR_STILLFRAME_CLOSED`.
   */
  get buffer(): Buffer {
    return openHandle(this, 'it no longer has a buffer').buffer() as Buffer
  }

  /**
   * Announces that the kernel is about to write into this range (`fs.read`, a socket, a
   * decompressor that reads from a socket). This is needed only during a capture whose
   * `faultHandling` is `'signal'`: there, a write by the kernel into a page that is still frozen
   * fails with `EFAULT`. The call preserves the frozen bytes of the range, within the capture's
   * memory limit, so that the write succeeds. At all other times it does nothing.
   *
   * @param byteOffset - first byte of the range; default 0.
   * @param byteLength - length of the range in bytes; default: the rest of the region.
   * @throws RangeError `ERR_OUT_OF_RANGE` if the range is not within the region.
   * @throws StillframeError `ERR_STILLFRAME_CLOSED`.
   */
  prepareWrite(byteOffset = 0, byteLength?: number): void {
    checkInteger(byteOffset, 'byteOffset', 0, this.byteLength)
    const rest = this.byteLength - byteOffset
    if (byteLength !== undefined) checkInteger(byteLength, 'byteLength', 0, rest)
    openHandle(this, 'it cannot be written').prepareWrite(byteOffset, byteLength ?? rest)
  }

  /**
   * Releases the memory: detaches `buffer`, and with it every view. Closing a closed region does
   * nothing.
   *
   * The buffer of a shared region cannot be detached. After `close()` the region can no longer be
   * used, but the buffer keeps its memory and its contents, in every thread, until no thread
   * references it.
   *
   * @throws StillframeError `ERR_STILLFRAME_BUSY` while a snapshot or a restore uses the memory.
   */
  close(): void {
    if (this.#handle === undefined) return
    if (this.#handle.busy) {
      throw new StillframeError(
        'ERR_STILLFRAME_BUSY',
        `the region '${this.name}' cannot be closed while a snapshot or a restore uses it. Await its end first`,
      )
    }
    this.#handle.close()
    this.#handle = undefined
    this.#buffer = undefined
    released.get(this)?.()
  }

  /** The same as {@link Region.close}, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** @internal Omits the bytes, which would put gigabytes into a log line. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    const state = this.#handle === undefined ? 'closed' : this.#handle.busy ? 'busy' : 'open'
    return `Region ${inspect({ name: this.name, byteLength: this.byteLength, state }, options)}`
  }
}

/** Makes a Region of memory that native code allocated. */
export function adoptRegion(handle: RegionHandle, name: string, anonymous: boolean): Region {
  return makeRegion(handle, name, { hugePages: anonymous, anonymous }) as Region
}

/** True for regions of this copy of the package. */
export function isRegion(value: unknown): value is AnyRegion {
  return typeof value === 'object' && value !== null && isRegionObject(value)
}

/** True if huge pages were requested for the region; the kernel may have refused them. */
export function wantsHugePages(region: AnyRegion): boolean {
  return originOf(region).hugePages
}

/** True if the memory is not a file mapping. */
export function isAnonymous(region: AnyRegion): boolean {
  return originOf(region).anonymous
}

/** Callbacks for when a region is closed, and for when it is garbage-collected. */
const released = new WeakMap<AnyRegion, () => void>()
const collected = new FinalizationRegistry<() => void>((release) => release())

/**
 * Calls `release` when the region is closed and when it is garbage-collected: at least once,
 * possibly twice. `release` must not refer to the region.
 */
export function whenReleased(region: AnyRegion, release: () => void): void {
  released.set(region, release)
  collected.register(region, release)
}

/**
 * Bytes in the units of 2 MiB that were written since the frame that the region's record begins
 * with; undefined without a record.
 */
export function writtenBytes(region: AnyRegion): number | undefined {
  return handleOf(region)?.writtenBytes
}

/** True while a capture or a restore uses the memory. */
export function isBusy(region: AnyRegion): boolean {
  return handleOf(region)?.busy ?? false
}

/** The region whose memory this buffer is, if any. */
export function regionOfBuffer(buffer: ArrayBufferLike): AnyRegion | undefined {
  return regionsByBuffer.get(buffer)
}

/**
 * The native side of an open region.
 *
 * @param consequence - completes "the region is closed: …".
 * @throws StillframeError `ERR_STILLFRAME_CLOSED`.
 */
function openHandle(region: AnyRegion, consequence: string): RegionHandle {
  const handle = handleOf(region)
  if (handle === undefined) {
    const message = `the region '${region.name}' is closed: ${consequence}. Allocate a new one`
    throw new StillframeError('ERR_STILLFRAME_CLOSED', message)
  }
  return handle
}

/**
 * Like `openHandle`, for callers that read or write all of the memory.
 *
 * @throws StillframeError `ERR_STILLFRAME_CLOSED`; `ERR_STILLFRAME_BUSY` while pages of it have not
 *   been restored yet.
 */
export function fullHandle(region: AnyRegion, consequence: string): RegionHandle {
  const handle = openHandle(region, consequence)
  if (!handle.filling) return handle
  throw new StillframeError(
    'ERR_STILLFRAME_BUSY',
    `the region '${region.name}' is not completely restored yet: ${consequence}. ` +
      "Await 'ready' of the result of restore()",
  )
}
