/** What `snapshotState()` does: a callback runs in a forked copy, and what it writes becomes a file. */

import { loadHeapAddon } from '../addon/heap-addon.js'
import { type ForkJob, type ForkRequest, forkJob } from './fork-job.js'
import { refuseWhatCannotWork, serializeThrown } from './in-copy.js'
import { type StateWriter, stateWriter } from './state-writer.js'
import { refuseUnfinished } from './unfinished.js'

/** @internal */
export interface StateRequest
  extends Pick<ForkRequest, 'calledAt' | 'path' | 'options' | 'callSite' | 'entry'> {
  readonly write: (out: StateWriter) => unknown
}

/** @internal Forks, with all arguments checked. @throws as `snapshotState()`. */
export function stateJob({ write, ...request }: StateRequest): ForkJob {
  const addon = loadHeapAddon()
  const run = (emit: (bytes: Uint8Array) => boolean, fail: (bytes: Uint8Array) => void): void => {
    try {
      refuseWhatCannotWork()
      const { out, finish } = stateWriter(addon, emit)
      refuseUnfinished(write(out))
      finish()
    } catch (error) {
      fail(serializeThrown(error))
    }
  }
  return forkJob({ ...request, addon, run })
}
