/**
 * The part of `snapshotState()` that runs in the forked copy: calls the callback and saves its
 * output.
 */

import { type ForkPlan, loadHeapAddon } from '../addon/heap-addon.js'
import { refuseWhatCannotWork, serializeThrown } from './in-copy.js'
import { type StateWriter, stateWriter } from './state-writer.js'
import { refuseUnfinished } from './unfinished.js'

/** @internal Returns the function to run in the copy. */
export function stateRun(write: (out: StateWriter) => unknown): ForkPlan['run'] {
  return (emit, fail) => {
    try {
      refuseWhatCannotWork()
      const { out, finish } = stateWriter(loadHeapAddon(), emit)
      refuseUnfinished(write(out))
      finish()
    } catch (error) {
      fail(serializeThrown(error))
    }
  }
}
