/** Getting memory back from a snapshot file. */

import type { NativeReadLimits, NativeRestored, RestorePlan } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { CallSite, invalidArgType, invalidArgValue, StillframeError } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { checkPath } from '../base/path.js'
import type { ReadProgress } from '../base/progress.js'
import {
  checkBoolean,
  checkCallback,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSectionName,
  checkSignal,
} from '../base/validate.js'
import { type SnapshotInfo, toSnapshotInfo } from '../image/info.js'
import { checkLimits, type ReadLimits } from '../image/limits.js'
import { checkParents, type ParentOptions } from '../image/parents.js'
import { adoptRegion, isBusy, type Region } from '../region/region.js'
import {
  type ResolvedDestination,
  type RestoreTarget,
  resolveDestinations,
  toNativeDestination,
} from './destination.js'
import { type JobCallback, runJob } from './read-job.js'
import { restores } from './trace.js'

export type { RestoreTarget } from './destination.js'

/** Options of {@link restore}. */
export interface RestoreOptions extends ParentOptions {
  /**
   * `'map'`: a private mapping of the file, made in an instant. Pages are read when they are
   * touched, and the file must stay as it is for as long as the regions live (replacing it by a new
   * snapshot is fine, writing into it is not). Compressed files are refused. `'copy'`: fresh
   * memory, independent of the file. Default: `'map'`, and `'copy'` for compressed files. See
   * docs/RESTORE.md.
   */
  mode?: 'map' | 'copy' | undefined
  /**
   * True: the pages of mapped regions are read in the background, in order, so that later accesses
   * need not wait for the disk. Reading ends by itself, or when the regions are closed. Default
   * false. It has no effect on copies.
   */
  prefetch?: boolean | undefined
  /**
   * True (default): all bytes are read and their checksums compared before any memory is handed
   * out. False: only the header, the section table and the index are checked, and the pages are
   * trusted.
   */
  verify?: boolean | undefined
  /**
   * Existing memory to fill, by section. Each piece must be at least as large as its section, whose
   * bytes go to the front; the rest is left alone. Only the sections named here are restored,
   * unless `sections` names more. If a restore fails half-way, this memory holds parts of the old
   * bytes and of the new ones.
   */
  into?: Record<string, RestoreTarget> | undefined
  /**
   * Sections to restore: at least one, including all that `into` names. Default: those that `into`
   * names, or all if there is no `into`.
   */
  sections?: readonly string[] | undefined
  /**
   * The most bytes that the sections to restore may have, an integer >= 1. If they have more, the
   * restore is refused with a RangeError before any memory is taken. Default: no limit.
   */
  maxBytes?: number | undefined
  /** What else the file may ask of the process. */
  limits?: ReadLimits | undefined
  /** Aborts the restore, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Called about every 100 ms, and once at the end. */
  onProgress?: ((progress: ReadProgress) => void) | undefined
}

/**
 * Restores the memory of a snapshot file, into new regions or into existing memory (`into`).
 * `Meta`, the type of the metadata, is the caller's word: it is not checked.
 *
 * Rejects with TypeError or RangeError for wrong arguments (including sections that the file does
 * not have, destinations that are too small, and files that ask for more than `maxBytes` or
 * `limits` allow), with the signal's reason, and with a StillframeError: `FORMAT`, `VERSION`,
 * `CORRUPT`, `IO`, and for destinations `BUSY` or `CLOSED`.
 */
export async function restore<Meta = JsonValue>(
  path: string | URL,
  options?: RestoreOptions,
): Promise<Restored<Meta>> {
  const callSite = new CallSite(restore)
  const file = checkPath(path, 'read')
  const wish = checkRestoreOptions(options)
  return await restores.promise(
    () => ({ path: file }),
    wish.signal,
    () => restoreAs<Meta>(file, wish, callSite),
  )
}

async function restoreAs<Meta>(file: string, wish: RestoreWish, callSite: CallSite): Promise<Restored<Meta>> {
  const addon = loadAddon()
  // If looking for the memory threw, that error is the reason; native code only knows that
  // something was thrown.
  let locateError: Error | undefined
  const onLocateError = (error: Error): void => {
    callSite.claim(error)
    locateError = error
  }
  const plan: RestorePlan = {
    path: file,
    parents: wish.parents,
    mode: wish.mode,
    verify: wish.verify,
    prefetch: wish.prefetch,
    sections: wish.sections,
    maxBytes: wish.maxBytes,
    limits: wish.limits,
    into: wish.destinations.map((destination) => toNativeDestination(destination, file, onLocateError)),
  }
  const native = await runJob({
    path: file,
    callSite,
    signal: wish.signal,
    onProgress: wish.onProgress,
    start: (callback: JobCallback<NativeRestored>) =>
      addon.restore(plan, (failure, value) => callback(failure && (locateError ?? failure), value)),
    discard: closeAll,
  })
  try {
    return makeRestored(native, file, !native.mapped) as Restored<Meta>
  } catch (error) {
    // The metadata is no JSON, so nobody will get the regions.
    closeAll(native)
    throw error
  }
}

function closeAll({ sections }: NativeRestored): void {
  for (const { region } of sections) region?.close()
}

let makeRestored: (native: NativeRestored, path: string, anonymous: boolean) => Restored<unknown>

/** What {@link restore} returns. */
export class Restored<Meta = JsonValue> {
  /**
   * The regions that were made, by section; each is named after its section. Sections that were
   * restored into the caller's memory are not among them.
   */
  readonly regions: Record<string, Region>
  /** As given to `snapshot()`; undefined if there was none. */
  readonly metadata: Meta | undefined
  readonly info: SnapshotInfo<Meta>

  static {
    makeRestored = (native, path, anonymous) => new Restored(native, path, anonymous)
  }

  private constructor(native: NativeRestored, path: string, anonymous: boolean) {
    if (native?.sections === undefined)
      throw new TypeError('Restored has no public constructor: use restore()')
    this.info = toSnapshotInfo<Meta>(native.info, path)
    this.metadata = this.info.metadata
    // Without a prototype: a section may be called '__proto__'.
    this.regions = Object.create(null) as Record<string, Region>
    for (const { name, region } of native.sections) {
      if (region !== undefined) this.regions[name] = adoptRegion(region, name, anonymous)
    }
  }

  /**
   * Closes all `regions` that are still open, but no memory of the caller.
   *
   * @throws StillframeError `ERR_STILLFRAME_BUSY`, before any is closed, if a snapshot uses one of
   *   them.
   */
  close(): void {
    const regions = Object.values(this.regions)
    const busy = regions.find(isBusy)
    if (busy !== undefined) {
      throw new StillframeError(
        'ERR_STILLFRAME_BUSY',
        `the region '${busy.name}' cannot be closed while a snapshot or a restore uses it. Await its end first`,
      )
    }
    for (const region of regions) region.close()
  }

  /** The same as {@link Restored.close}, for `using`. */
  [Symbol.dispose](): void {
    this.close()
  }

  /** The same as {@link Restored.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.close()
  }
}

interface RestoreWish {
  readonly parents: readonly string[]
  readonly mode: 'any' | 'map' | 'copy'
  readonly verify: boolean
  readonly prefetch: boolean
  readonly destinations: readonly ResolvedDestination[]
  readonly sections: string[] | undefined
  readonly maxBytes: number
  readonly limits: NativeReadLimits
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: ReadProgress) => void) | undefined
}

/** @internal What a restore is asked for, apart from where the files are. */
export const restoreOptionNames = [
  'mode',
  'verify',
  'prefetch',
  'into',
  'sections',
  'maxBytes',
  'limits',
  'signal',
  'onProgress',
] as const satisfies readonly (keyof RestoreOptions)[]

const known = ['parents', ...restoreOptionNames] as const satisfies readonly (keyof RestoreOptions)[]

function checkRestoreOptions(options: unknown): RestoreWish {
  const given = checkOptions(options, known)
  const destinations = given.into === undefined ? [] : resolveDestinations(given.into)
  return {
    parents: checkParents(given.parents),
    mode: given.mode === undefined ? 'any' : checkChoice(given.mode, 'options.mode', ['map', 'copy']),
    verify: checkBoolean(given.verify, 'options.verify', true),
    prefetch: checkBoolean(given.prefetch, 'options.prefetch', false),
    destinations,
    sections: checkSectionList(
      given.sections,
      destinations.map(({ name }) => name),
    ),
    maxBytes:
      given.maxBytes === undefined
        ? 0
        : checkInteger(given.maxBytes, 'options.maxBytes', 1, Number.MAX_SAFE_INTEGER),
    limits: checkLimits(given.limits),
    signal: checkSignal(given.signal, 'options.signal'),
    onProgress: checkCallback<(progress: ReadProgress) => void>(given.onProgress, 'options.onProgress'),
  }
}

/** The sections to restore, without duplicates; undefined for all. */
function checkSectionList(sections: unknown, destinations: string[]): string[] | undefined {
  if (sections === undefined) return destinations.length > 0 ? destinations : undefined
  if (!Array.isArray(sections))
    throw invalidArgType('options.sections', 'an array of section names', sections)
  const names = new Set(sections.map((name, index) => checkSectionName(name, `options.sections[${index}]`)))
  if (names.size === 0) throw invalidArgValue('options.sections must name at least one section')
  const forgotten = destinations.find((name) => !names.has(name))
  if (forgotten !== undefined) {
    throw invalidArgValue(`options.into names section '${forgotten}', which options.sections leaves out`)
  }
  return [...names]
}
