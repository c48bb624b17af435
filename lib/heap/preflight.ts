/** What a heap snapshot would need, asked before anything is forked. */

import { loadHeapAddon } from '../addon/heap-addon.js'
import { checkOptions, optionalInteger } from '../base/validate.js'

/** Options of {@link preflightHeap}. */
export interface HeapPreflightOptions {
  /** The `memoryLimit` that the snapshot would be given. Default: what can be had. */
  memoryLimit?: number | undefined
}

/** The answer of {@link preflightHeap}. */
export interface HeapPreflight {
  /** Bytes of this thread's heap that are in use. */
  heapBytes: number
  /** Bytes of memory that the forked copy would take: about 13 times the heap. */
  neededBytes: number
  /**
   * Bytes that it may take: what the machine, or the tightest memory cgroup above the process, has
   * left, but for an eighth and at least 32 MiB, which are for the service.
   */
  availableBytes: number
  /** Milliseconds for which the service would stand still: a rough figure, from the size of the heap. */
  predictedPauseMs: number
  /** Whether the snapshot would fit. */
  fits: boolean
}

/** Of docs/HEAP.md, "What it costs": three heaps of 62 to 1,057 MB. */
const pauseMs = { fixed: 6, perByte: 42e-9 }

/**
 * Tells what `writeHeapSnapshot()` of this thread would need, and whether there is that much memory.
 *
 * @throws TypeError, RangeError for wrong arguments; StillframeError `ERR_STILLFRAME_ABI`,
 *   `ERR_STILLFRAME_UNSUPPORTED_PLATFORM`.
 */
export async function preflightHeap(options?: HeapPreflightOptions): Promise<HeapPreflight> {
  const given = checkOptions(options, ['memoryLimit'])
  const limit = optionalInteger(given.memoryLimit, 'options.memoryLimit', 1, Number.MAX_SAFE_INTEGER)
  const need = loadHeapAddon().needOfHeapSnapshot(limit ?? 0)
  return { ...need, predictedPauseMs: pauseMs.fixed + need.heapBytes * pauseMs.perByte }
}
