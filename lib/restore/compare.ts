/** Finds the pages in which two frames differ. */

import type { ComparePlan, SectionDifference } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { CallSite } from '../base/errors.js'
import { checkPath } from '../base/path.js'
import type { ReadProgress } from '../base/progress.js'
import { checkLimits, type ReadLimits } from '../image/limits.js'
import { checkParents, type ParentOptions } from '../image/parents.js'
import { type JobCallback, runJob } from './read-job.js'

export type { SectionDifference } from '../addon/addon.js'

/** Options of {@link compareFrames}. */
export interface CompareOptions extends ParentOptions {
  /**
   * Maximum number of pieces, of whole pages, that each section is divided into; an integer >= 1.
   */
  pieces: number
  /** Aborts the comparison, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Called about every 100 ms, and once at the end. Counts bytes of memory. */
  onProgress?: ((progress: ReadProgress) => void) | undefined
  /** Limits on what the files may demand. */
  limits?: ReadLimits | undefined
}

/**
 * Compares two frames by the sums of their pages. No page is read, so it takes 1/256 of the time
 * that reading both would take, and does not detect damage to the pages. Sections are matched by
 * name: the sections of `to` come first, in its order, then those that only `from` has. A page that
 * only one frame has counts as different unless it is zero.
 *
 * Rejects with the signal's reason, and with a StillframeError that names the file that cannot be
 * compared: `PARENT`, `CORRUPT`, `FORMAT`, `VERSION`, `IO`.
 */
export async function compareFrames(
  from: string | URL,
  to: string | URL,
  options: CompareOptions,
): Promise<SectionDifference[]> {
  const callSite = new CallSite(compareFrames)
  const { pieces, signal, onProgress } = options
  const plan: ComparePlan = {
    from: checkPath(from, 'read', 'from'),
    to: checkPath(to, 'read', 'to'),
    parents: checkParents(options.parents),
    limits: checkLimits(options.limits),
    pieces,
  }
  const addon = loadAddon()
  const run = (
    one: ComparePlan,
    report: ((progress: ReadProgress) => void) | undefined,
  ): Promise<SectionDifference[]> =>
    runJob({
      path: one.from,
      callSite,
      signal,
      onProgress: report,
      start: (callback: JobCallback<SectionDifference[]>) => addon.compare(one, callback),
      discard: undefined,
    })
  try {
    return await run(plan, onProgress)
  } catch (error) {
    if (signal?.aborted) throw error
    // Native code does not report which of the two files is at fault: find the one that cannot even
    // be compared with itself.
    for (const path of [plan.from, plan.to]) await run({ ...plan, from: path, to: path }, undefined)
    throw error
  }
}
