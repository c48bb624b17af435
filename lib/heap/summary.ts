/** The shape of a heap summary: what a file of `writeHeapSummary()` holds, as JSON. */

/** Objects that are counted together. Shallow: without what they refer to. */
export interface ObjectCount {
  count: number
  shallowBytes: number
}

/**
 * Objects of one class. For those of JavaScript the name is that of the constructor; names in
 * parentheses and those that begin with `system / ` are V8's own kinds, as in heap snapshots.
 */
export interface ClassCount extends ObjectCount {
  name: string
  /**
   * As in heap snapshots: `object`, `closure`, `regexp`, `array` (of V8's own: elements,
   * properties, hash tables), `string`, `concatenated string`, `sliced string`, `symbol`, `bigint`,
   * `number`, `code`, `object shape`, `hidden`.
   */
  type: string
}

/** What V8 says of one space of its heap. */
export interface HeapSpace {
  name: string
  usedBytes: number
  totalBytes: number
  availableBytes: number
  physicalBytes: number
}

/** One of the largest strings. */
export interface LargeString {
  /** Of its characters. */
  bytes: number
  /** In UTF-16 code units. */
  length: number
  /** True: the characters are not in V8's heap. */
  external: boolean
  /** Its first 100 characters; not with `redact`. */
  start?: string
}

/**
 * What is on a heap, in short. All sizes are in bytes. The members from `objects` on are missing if
 * the heap could not be read, and `complete` is then false.
 */
export interface HeapSummary {
  format: 'stillframe-heap-summary'
  version: 1
  /** Version of Node, without `v`. */
  node: string
  v8: string
  /** The service's process id. */
  pid: number
  /** `worker_threads.threadId` of the thread whose heap it is: 0 for the main thread. */
  thread: number
  /** When the copy wrote it, in ISO 8601 (UTC). */
  time: string
  /** Why it was written. `'call'`: somebody has called `writeHeapSummary()`. */
  trigger: string
  redacted: boolean
  /** V8's own statistics: those of `v8.getHeapStatistics()`. */
  heap: {
    usedBytes: number
    totalBytes: number
    /** The limit of the heap: `--max-old-space-size` or `resourceLimits`, and the young generation. */
    limitBytes: number
    availableBytes: number
    physicalBytes: number
    executableBytes: number
    /** Memory outside of the heap that objects keep: Buffers above all. */
    externalBytes: number
    mallocedBytes: number
    mallocedPeakBytes: number
    globalHandlesBytes: number
  }
  contexts: {
    /** Global objects: one, and one for each `vm.createContext()` that is still alive. */
    native: number
    /** Of them, those that were given up and are kept nevertheless. */
    detached: number
  }
  code: { codeBytes: number; bytecodeBytes: number; externalSourceBytes: number }
  spaces: HeapSpace[]
  /** Everything that was found on the pages of the heap, garbage that has not been collected too. */
  objects?: ObjectCount & {
    /** Between objects, ready for others. */
    freeBytes: number
    /** Memory in which no object was recognized: what is free or reserved and still holds old data. */
    unreadBytes: number
  }
  strings?: ObjectCount & { externalBytes: number; largest: LargeString[] }
  /** ArrayBuffers and SharedArrayBuffers, with the bytes they refer to; so all Buffers and typed arrays. */
  buffers?: { count: number; bytes: number; largest: { bytes: number }[] }
  /** The largest first. */
  classes?: ClassCount[]
  /** Objects whose classes are not told one by one. */
  others?: ObjectCount
  /** False: something is missing, or is not to be relied on. */
  complete: boolean
  /** Why it is not complete. */
  reason?: string
}
