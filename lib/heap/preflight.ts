/** Estimates the cost of a heap snapshot before anything is forked. */

import { loadHeapAddon } from '../addon/heap-addon.js'
import { checkOptions, optionalInteger } from '../base/validate.js'

/** Options of {@link preflightHeap}. */
export interface HeapPreflightOptions {
  /** The `memoryLimit` of the planned snapshot, in bytes. Default: the memory that is available. */
  memoryLimit?: number | undefined
}

/** The result of {@link preflightHeap}. */
export interface HeapPreflight {
  /** Bytes of this thread's heap that are in use. */
  heapBytes: number
  /** Bytes of memory that the forked copy would take: about 13 times the heap. */
  neededBytes: number
  /**
   * Bytes that the copy may take: the memory that the machine, or the tightest memory cgroup above
   * the process, has left, minus a reserve for the service of one eighth and at least 32 MiB.
   */
  availableBytes: number
  /** Estimated pause of the service, in milliseconds: a rough figure, from the size of the heap. */
  predictedPauseMs: number
  /** True if the snapshot would fit. */
  fits: boolean
}

/** From docs/HEAP.md, "What it costs": three heaps of 62 to 1,057 MB. */
const pauseMs = { fixed: 6, perByte: 42e-9 }

/**
 * Returns what `writeHeapSnapshot()` of this thread would need, and whether that much memory is
 * available.
 *
 * @throws TypeError, RangeError for invalid arguments; StillframeError `ERR_STILLFRAME_ABI`,
 *   `ERR_STILLFRAME_UNSUPPORTED_PLATFORM`.
 */
export async function preflightHeap(options?: HeapPreflightOptions): Promise<HeapPreflight> {
  const given = checkOptions(options, ['memoryLimit'])
  const limit = optionalInteger(given.memoryLimit, 'options.memoryLimit', 1, Number.MAX_SAFE_INTEGER)
  const need = loadHeapAddon().needOfHeapSnapshot(limit ?? 0)
  return { ...need, predictedPauseMs: pauseMs.fixed + need.heapBytes * pauseMs.perByte }
}
