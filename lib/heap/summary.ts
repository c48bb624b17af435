/** The JSON format of a heap summary, as in a file of `writeHeapSummary()`. */

/** Number and total size of a group of objects. Shallow sizes exclude the objects they refer to. */
export interface ObjectCount {
  count: number
  shallowBytes: number
}

/**
 * Objects of one class. For JavaScript objects the name is that of the constructor; names in
 * parentheses and names that begin with `system / ` are V8's own kinds, as in heap snapshots.
 */
export interface ClassCount extends ObjectCount {
  name: string
  /**
   * The type, as in heap snapshots: `object`, `closure`, `regexp`, `array` (V8's own arrays:
   * elements, properties, hash tables), `string`, `concatenated string`, `sliced string`, `symbol`,
   * `bigint`, `number`, `code`, `object shape`, `hidden`.
   */
  type: string
}

/** V8's statistics of one space of its heap. */
export interface HeapSpace {
  name: string
  usedBytes: number
  totalBytes: number
  availableBytes: number
  physicalBytes: number
}

/** One of the largest strings. */
export interface LargeString {
  /** Size of its characters, in bytes. */
  bytes: number
  /** Length in UTF-16 code units. */
  length: number
  /** True: the characters are outside of V8's heap. */
  external: boolean
  /** Its first 100 characters; absent with `redact`. */
  start?: string
}

/**
 * Summary of the contents of a heap. All sizes are in bytes. If the heap could not be read, the
 * members from `objects` on are missing and `complete` is false.
 */
export interface HeapSummary {
  format: 'stillframe-heap-summary'
  version: 1
  /** Version of Node, without the `v`. */
  node: string
  v8: string
  /** Process id of the service. */
  pid: number
  /** `worker_threads.threadId` of the thread that owns the heap; 0 for the main thread. */
  thread: number
  /** Time at which the copy wrote the summary, in ISO 8601 (UTC). */
  time: string
  /** Why the summary was written. `'call'`: `writeHeapSummary()` was called. */
  trigger: string
  redacted: boolean
  /** V8's own statistics, from `v8.getHeapStatistics()`. */
  heap: {
    usedBytes: number
    totalBytes: number
    /** Heap limit: `--max-old-space-size` or `resourceLimits`, plus the young generation. */
    limitBytes: number
    availableBytes: number
    physicalBytes: number
    executableBytes: number
    /** Memory outside of the heap that objects keep alive, mostly Buffers. */
    externalBytes: number
    mallocedBytes: number
    mallocedPeakBytes: number
    globalHandlesBytes: number
  }
  contexts: {
    /**
     * Number of global objects: one, plus one for each `vm.createContext()` that is still alive.
     */
    native: number
    /** Number of these that are detached, but still kept alive. */
    detached: number
  }
  code: { codeBytes: number; bytecodeBytes: number; externalSourceBytes: number }
  spaces: HeapSpace[]
  /** All objects found on the pages of the heap, including garbage that has not been collected. */
  objects?: ObjectCount & {
    /** Free memory between objects. */
    freeBytes: number
    /**
     * Memory in which no object was recognized: free or reserved memory that still holds old data.
     */
    unreadBytes: number
  }
  strings?: ObjectCount & { externalBytes: number; largest: LargeString[] }
  /**
   * ArrayBuffers and SharedArrayBuffers, with the bytes they refer to. This covers all Buffers and
   * typed arrays.
   */
  buffers?: { count: number; bytes: number; largest: { bytes: number }[] }
  /** Classes, largest first. */
  classes?: ClassCount[]
  /** Objects of the classes that are not listed individually. */
  others?: ObjectCount
  /** False: something is missing or unreliable. */
  complete: boolean
  /** Why the summary is not complete. */
  reason?: string
}
