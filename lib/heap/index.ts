/**
 * Writes the state of the JavaScript heap to a file, from a frozen copy of the process.
 *
 * Each call forks the process. During the fork, V8's threads are parked, and V8's memory, which
 * Node keeps out of child processes, is made forkable. The copy continues at the point of the call,
 * writes the file and exits; the service continues at once.
 *
 * @module stillframe/heap
 */

import { performance } from 'node:perf_hooks'
import process from 'node:process'
import type { Writable } from 'node:stream'
import { threadId } from 'node:worker_threads'
import { loadHeapAddon } from '../addon/heap-addon.js'
import { CallSite, invalidArgType } from '../base/errors.js'
import { checkPath } from '../base/path.js'
import { refuseInFrozenCopy } from '../snapshot/frozen-copy.js'
import type { ForkJob } from './fork-job.js'
import {
  checkForkOptions,
  checkHeapSnapshotOptions,
  checkHeapSummaryOptions,
  type ForkOptions,
  type HeapSnapshotOptions,
  type HeapSummaryOptions,
  refuseFileOptions,
} from './options.js'
import { stateRun } from './state-job.js'
import type { NothingLater, StateWriter } from './state-writer.js'
import { isWritable } from './stream-target.js'
import { tracedForkJob } from './trace.js'

export type { PauseParts } from '../addon/heap-addon.js'
export { type ReadValuesOptions, readValues } from '../values/values.js'
export { ForkJob, type ForkResult } from './fork-job.js'
export {
  type MemoryCapture,
  type MemoryCaptureFailure,
  type MemoryTrigger,
  MemoryWatch,
  type MemoryWatchOptions,
  watchMemory,
} from './memory-watch.js'
export type { ForkOptions, ForkProgress, HeapSnapshotOptions, HeapSummaryOptions } from './options.js'
export { type HeapPreflight, type HeapPreflightOptions, preflightHeap } from './preflight.js'
export type { NothingLater, StateWriter } from './state-writer.js'
export type { ClassCount, HeapSpace, HeapSummary, LargeString, ObjectCount } from './summary.js'
export type { HeapTrace } from './trace.js'

/**
 * Writes a heap snapshot of this thread's JavaScript, in its state at the call, for the Memory tab
 * of Chrome DevTools and other readers of `.heapsnapshot` files. The call blocks until the process
 * has been forked (`pauseMs`). If V8's threads are not at rest within a few milliseconds, the call
 * returns, and the fork is tried again later (`frozenAt`).
 *
 * @param to - the file to write, or a stream that receives the snapshot and is then ended. If the
 *   snapshot fails, the stream is destroyed. A stream that accepts nothing for `stallTimeoutMs`
 *   fails the job. Default: a file `Heap.<date>.<time>.<pid>.<thread>.<number>.heapsnapshot` in the
 *   working directory, the name that `v8.writeHeapSnapshot()` would use.
 * @throws TypeError, RangeError for invalid arguments; the signal's reason if it is already
 *   aborted; StillframeError for failures up to the fork: `ERR_STILLFRAME_ABI`, `ERR_STILLFRAME_IO`
 *   and others, and with `retry: false` `ERR_STILLFRAME_BUSY` if V8's threads are not at rest.
 *   Later failures reject `done`.
 */
export function writeHeapSnapshot(to?: string | URL | Writable, options?: HeapSnapshotOptions): ForkJob {
  const calledAt = performance.now()
  refuseInFrozenCopy('writeHeapSnapshot')
  const checked = checkHeapSnapshotOptions(options)
  const target = checkTarget(to === undefined ? defaultName() : to, options)
  const callSite = new CallSite(writeHeapSnapshot)
  const entry = writeHeapSnapshot
  const request = { calledAt, ...target, options: checked, run: undefined, callSite, entry }
  return tracedForkJob('writeHeapSnapshot', request)
}

function checkTarget(to: unknown, options: object | undefined): { path: string; stream?: Writable } {
  if (!isWritable(to)) return { path: checkPath(to, 'write') }
  refuseFileOptions(options)
  return { path: '', stream: to }
}

/**
 * Writes a summary of this thread's heap at the call, as JSON ({@link HeapSummary}): the number and
 * size of the objects of each class, the largest strings and buffers, and V8's own statistics. A
 * summary takes a small part of the memory and time of a heap snapshot, and has no references
 * between objects: see docs/HEAP.md. The process is frozen as for a heap snapshot.
 *
 * @param to - the file to write, or a stream, as for {@link writeHeapSnapshot}; relative paths and
 *   `file:` URLs are resolved at the call.
 * @throws TypeError, RangeError, StillframeError as {@link writeHeapSnapshot}.
 */
export function writeHeapSummary(to: string | URL | Writable, options?: HeapSummaryOptions): ForkJob {
  const calledAt = performance.now()
  refuseInFrozenCopy('writeHeapSummary')
  const checked = checkHeapSummaryOptions(options)
  const target = checkTarget(to, options)
  const callSite = new CallSite(writeHeapSummary)
  const entry = writeHeapSummary
  const thread = checked.thread || threadId
  const summary = { trigger: 'call', pid: process.pid, thread, redact: checked.redact }
  const request = { calledAt, ...target, options: checked, run: undefined, summary, callSite, entry }
  return tracedForkJob('writeHeapSummary', request)
}

/**
 * Runs `write` in a frozen copy of the process, where every JavaScript object is in its state at
 * the call, and saves the data that it passes to `out` as a file. The call blocks until the process
 * has been forked (`pauseMs`). If V8's threads are not at rest within a few milliseconds, the call
 * returns, and the fork is tried again later (`frozenAt`); `retry: false` rules that out.
 *
 * `write` runs synchronously and alone: the copy has no timers, promises, sockets or other threads,
 * and changes that `write` makes exist only in the copy. It must not start a thread, a process, a
 * timer or another capture, call `process.exit()` or `process.kill()`, or return anything that
 * would do its work later (a promise, a generator, a function): all of these are refused. The
 * memory of a Region is not in the copy, and using it there ends the job with
 * `ERR_STILLFRAME_CALLBACK`; save it with `snapshot()`.
 *
 * @param path - the file to write; relative paths and `file:` URLs are resolved at the call.
 * @param write - receives a {@link StateWriter}; see docs/HEAP.md for what it may do.
 * @throws TypeError, RangeError, StillframeError as {@link writeHeapSnapshot}. If `write` throws,
 *   `done` rejects with `ERR_STILLFRAME_CALLBACK`, whose `cause` is the error.
 */
export function snapshotState<Returned>(
  path: string | URL,
  write: (out: StateWriter) => Returned & NothingLater<Returned>,
  options?: ForkOptions,
): ForkJob {
  const calledAt = performance.now()
  refuseInFrozenCopy('snapshotState')
  const checked = checkForkOptions(options)
  const file = checkPath(path, 'write')
  if (typeof write !== 'function') throw invalidArgType('write', 'a function', write)
  const entry = snapshotState
  const callSite = new CallSite(entry)
  const run = stateRun(write)
  return tracedForkJob('snapshotState', { calledAt, path: file, options: checked, run, callSite, entry })
}

// Load the addon at import, so that V8's worker threads have been counted by the first call. If the
// addon is missing, that call reports it.
try {
  loadHeapAddon()
} catch {}

let written = 0

/** The name that V8 and Node would use. */
function defaultName(): string {
  const now = new Date()
  const two = (value: number): string => String(value).padStart(2, '0')
  const date = `${now.getFullYear()}${two(now.getMonth() + 1)}${two(now.getDate())}`
  const time = `${two(now.getHours())}${two(now.getMinutes())}${two(now.getSeconds())}`
  const number = String(++written).padStart(3, '0')
  return `Heap.${date}.${time}.${process.pid}.${threadId}.${number}.heapsnapshot`
}
