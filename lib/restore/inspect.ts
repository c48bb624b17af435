/** Reads a snapshot file without restoring it: describes it and checks it for damage. */

import type { InspectPlan } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { CallSite } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { checkPath } from '../base/path.js'
import { checkOptions } from '../base/validate.js'
import {
  checkSweepOptions,
  type FoundProblems,
  type ImageInfo,
  type InspectOptions,
  type SnapshotInfo,
  sweepOptionNames,
  toSnapshotInfo,
  toVerifyReport,
  type VerifyOptions,
  type VerifyReport,
} from '../image/info.js'
import { checkLimits } from '../image/limits.js'
import { checkParents } from '../image/parents.js'
import { type JobCallback, runJob } from './read-job.js'

/**
 * Reads and checks the header, the sections and the metadata of a snapshot file. It reads no page
 * data, so it is fast regardless of the size of the file, and does not detect damage to the pages:
 * use {@link verify} for that. `Meta`, the type of the metadata, is asserted by the caller and not
 * checked.
 *
 * Rejects with TypeError or RangeError for wrong arguments and for a file that exceeds `limits`,
 * and with a StillframeError: `FORMAT`, `VERSION`, `CORRUPT`, `PARENT`, `IO`.
 */
export async function inspect<Meta = JsonValue>(
  path: string | URL,
  options?: InspectOptions,
): Promise<SnapshotInfo<Meta>> {
  const callSite = new CallSite(inspect)
  const file = checkPath(path, 'read')
  const given = checkOptions(options, ['limits', 'parents'])
  const plan: InspectPlan = {
    path: file,
    parents: checkParents(given.parents),
    limits: checkLimits(given.limits),
  }
  const addon = loadAddon()
  const start = (callback: JobCallback<ImageInfo>) => addon.inspect(plan, callback)
  const none = { signal: undefined, onProgress: undefined, discard: undefined }
  return toSnapshotInfo<Meta>(await runJob({ path: file, callSite, start, ...none }), file)
}

/**
 * Checks every byte of a snapshot file. Damage is not an error: it is listed in the report, and so
 * is a file that is not a snapshot at all.
 *
 * Rejects with TypeError or RangeError for wrong arguments and for a file that exceeds `limits`,
 * with the signal's reason, and with a StillframeError: `IO` if the file cannot be read, `VERSION`
 * if its format is newer, `PARENT` if a snapshot that it builds on is missing.
 */
export async function verify(path: string | URL, options?: VerifyOptions): Promise<VerifyReport> {
  const callSite = new CallSite(verify)
  const file = checkPath(path, 'read')
  const given = checkOptions(options, [...sweepOptionNames, 'limits', 'parents'])
  const { signal, onProgress, maxProblems } = checkSweepOptions(given)
  const limits = checkLimits(given.limits)
  const parents = checkParents(given.parents)

  const addon = loadAddon()
  const found = await runJob({
    path: file,
    callSite,
    signal,
    onProgress,
    start: (callback: JobCallback<FoundProblems>) =>
      addon.verify({ path: file, parents, maxProblems, limits }, (failure, value) => {
        // A snapshot with damaged first bytes cannot be told from a file that never was a snapshot.
        if (failure?.failure !== 'FORMAT') callback(failure, value)
        else {
          const problem = { offset: failure.offset, section: '', reason: failure.message }
          callback(null, { problems: [problem], info: undefined })
        }
      }),
    discard: undefined,
  })
  return toVerifyReport(found, file)
}
