/** Restores memory from a snapshot file. */

import type {
  ChainPlan,
  NativeLazyRestored,
  NativeReadLimits,
  NativeRestored,
  RestorePlan,
} from '../addon/addon.js'
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
import { type Filling, fillLazily } from './filling.js'
import { type JobCallback, runJob } from './read-job.js'
import { restores } from './trace.js'

export type { RestoreTarget } from './destination.js'

/** A block of memory of 256 KiB that a thread had to wait for. It can be stored as JSON. */
export interface FirstUse {
  readonly section: string
  /** Bytes from the start of the section. */
  readonly offset: number
}

/** Options of {@link restore}. */
export interface RestoreOptions extends ParentOptions {
  /**
   * - `'map'`: a private mapping of the file, made instantly. Pages are read when they are touched,
   *   and the file must not change as long as the regions live (replacing it with a new snapshot is
   *   fine, writing into it is not). Compressed files are refused.
   * - `'copy'`: fresh memory, independent of the file.
   * - `'lazy'`: fresh memory as well, but handed out at once: each page is read and checked when it
   *   is touched, and all others in the background. A thread that touches a page before it is there
   *   waits for it. `ready` of the result reports the outcome.
   *
   * Default: `'map'`, but `'copy'` for compressed files. See docs/RESTORE.md.
   */
  mode?: 'map' | 'copy' | 'lazy' | undefined
  /**
   * True: the pages of mapped regions are read in the background, in order, so that later accesses
   * need not wait for the disk. Prefetching ends by itself, or when the regions are closed. Default
   * false. It has no effect on copies.
   */
  prefetch?: boolean | undefined
  /**
   * True (default): all bytes are read and their checksums compared before any memory is handed
   * out; with mode `'lazy'`, each block before any of it can be seen. False: only the header, the
   * section table and the index are checked, and the pages are trusted.
   */
  verify?: boolean | undefined
  /**
   * Existing memory to fill, by section name. Each destination must be at least as large as its
   * section, whose bytes go to its beginning; the rest is left unchanged. Only the sections named
   * here are restored, unless `sections` names more. If a restore fails midway, this memory
   * contains a mix of old and new bytes. Cannot be combined with mode `'lazy'`.
   */
  into?: Record<string, RestoreTarget> | undefined
  /**
   * Sections to restore: at least one, including all that `into` names. Default: the sections that
   * `into` names, or all sections without `into`.
   */
  sections?: readonly string[] | undefined
  /**
   * Maximum total size of the sections to restore, in bytes; an integer >= 1. If they are larger,
   * the restore is refused with a RangeError before any memory is allocated. Default: no limit.
   */
  maxBytes?: number | undefined
  /** Limits on what else the file may demand. */
  limits?: ReadLimits | undefined
  /**
   * With mode `'lazy'`: the blocks to fetch first in the background, in this order, before they are
   * touched; pass the `firstUses` of an earlier restore. Blocks that this file does not have are
   * skipped.
   */
  firstUses?: readonly FirstUse[] | undefined
  /** Aborts the restore, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /** Called about every 100 ms, and once at the end. */
  onProgress?: ((progress: ReadProgress) => void) | undefined
}

/**
 * Restores the memory of a snapshot file, into new regions or into existing memory (`into`).
 * `Meta`, the type of the metadata, is asserted by the caller and not checked.
 *
 * Rejects with TypeError or RangeError for wrong arguments (including sections that the file does
 * not have, destinations that are too small, and files that exceed `maxBytes` or `limits`), with
 * the signal's reason, and with a StillframeError: `FORMAT`, `VERSION`, `CORRUPT`, `PARENT`, `IO`;
 * for destinations `BUSY` or `CLOSED`; and with mode `'lazy'` `ENGINE_UNAVAILABLE` if the process
 * may not use userfaultfd.
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
    () =>
      wish.mode === 'lazy'
        ? restoreLazily<Meta>(file, wish, callSite)
        : restoreAs<Meta>(file, wish, callSite),
  )
}

async function restoreLazily<Meta>(
  file: string,
  wish: RestoreWish,
  callSite: CallSite,
): Promise<Restored<Meta>> {
  const { parents } = wish
  const { filling, native } = await fillLazily({
    path: file,
    callSite,
    wish,
    start: ({ plan, onOpen, onEnd }) => {
      const lazyPlan = { ...plan, path: file, parents, files: [], onRead: undefined, onOpen }
      const job = loadAddon().restoreLazily(lazyPlan, onEnd)
      return () => job.cancel()
    },
  })
  return restoredLazily<Meta>(native, file, filling)
}

/** @internal */
export function restoredLazily<Meta>(
  native: NativeLazyRestored,
  path: string,
  filling: Filling,
): Restored<Meta> {
  try {
    return makeRestored(native, path, true, filling) as Restored<Meta>
  } catch (error) {
    // The metadata is not JSON.
    filling.close()
    closeAll(native)
    throw error
  }
}

/** @internal Files that are not on this machine; their bytes are requested through `onRead`. */
export type FarFiles = Pick<ChainPlan, 'files' | 'onRead'>

/**
 * @internal Restores files that are not on this machine into fresh memory. `name` says where they
 * are, for messages.
 */
export async function restoreFrom<Meta>(
  name: string,
  far: FarFiles,
  wish: RestoreWish,
): Promise<Restored<Meta>> {
  return await restores.promise(
    () => ({ path: name }),
    wish.signal,
    () => restoreAs<Meta>(name, wish, new CallSite(restoreFrom), far),
  )
}

async function restoreAs<Meta>(
  file: string,
  wish: RestoreWish,
  callSite: CallSite,
  far?: FarFiles,
): Promise<Restored<Meta>> {
  const addon = loadAddon()
  // If locating the memory threw, report that error: native code only knows that something was
  // thrown.
  let locateError: Error | undefined
  const onLocateError = (error: Error): void => {
    callSite.claim(error)
    locateError = error
  }
  const plan: RestorePlan = {
    path: far === undefined ? file : '',
    parents: wish.parents,
    files: far?.files ?? [],
    onRead: far?.onRead,
    mode: wish.mode as RestorePlan['mode'],
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
    // The metadata is not JSON, so the regions will not be handed out.
    closeAll(native)
    throw error
  }
}

function closeAll({ sections }: NativeRestored): void {
  for (const { region } of sections) region?.close()
}

let makeRestored: (
  native: NativeRestored,
  path: string,
  anonymous: boolean,
  filling?: Filling,
) => Restored<unknown>

/** Result of {@link restore}. */
export class Restored<Meta = JsonValue> {
  /**
   * The new regions, by section name; each is named after its section. Sections that were restored
   * into the caller's memory are not included.
   */
  readonly regions: Record<string, Region>
  /** The metadata given to `snapshot()`; undefined if there was none. */
  readonly metadata: Meta | undefined
  readonly info: SnapshotInfo<Meta>
  /**
   * Resolves when all memory is there: at once, except with mode `'lazy'`. Rejects with a
   * StillframeError when a page cannot be read or is damaged (`CORRUPT`, `IO`), or the store no
   * longer answers (`STALLED`), with the signal's reason, and with `CLOSED` if the memory is closed
   * first. Pages that are not there by then can never be touched: a thread that touches one, or is
   * waiting for it, gets a SIGSEGV, and a system call fails with `EFAULT`.
   */
  readonly ready: Promise<void>
  /**
   * With mode `'lazy'`: the blocks that were used first, in order of use. The list begins with the
   * `firstUses` that were passed to the restore, which are fetched before they are touched,
   * followed by the other blocks that a thread had to wait for. Pass the list to the next restore
   * to have these blocks fetched by the time they are used. Empty in other modes.
   */
  get firstUses(): FirstUse[] {
    return this.#firstUses()
  }
  readonly #firstUses: () => FirstUse[]
  readonly #filling: Filling | undefined

  static {
    makeRestored = (...args) => new Restored(...args)
  }

  private constructor(native: NativeRestored, path: string, anonymous: boolean, filling?: Filling) {
    if (native?.sections === undefined)
      throw new TypeError('Restored has no public constructor: use restore()')
    this.info = toSnapshotInfo<Meta>(native.info, path)
    this.metadata = this.info.metadata
    this.#filling = filling
    this.#firstUses = (native as Partial<NativeLazyRestored>).firstUses ?? (() => [])
    this.ready = filling?.ready ?? Promise.resolve()
    // No prototype, because a section may be called '__proto__'.
    this.regions = Object.create(null) as Record<string, Region>
    for (const { name, region } of native.sections) {
      if (region !== undefined) this.regions[name] = adoptRegion(region, name, anonymous)
    }
  }

  /**
   * Closes all `regions` that are still open, but none of the caller's memory. Ends a lazy restore.
   *
   * @throws StillframeError `ERR_STILLFRAME_BUSY`, before any region is closed, if a snapshot or a
   *   restore uses one of them.
   */
  close(): void {
    const regions = Object.values(this.regions)
    this.#filling?.close()
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

/** @internal */
export interface RestoreWish {
  readonly parents: readonly string[]
  readonly mode: 'any' | 'map' | 'copy' | 'lazy'
  readonly verify: boolean
  readonly prefetch: boolean
  readonly destinations: readonly ResolvedDestination[]
  readonly sections: string[] | undefined
  readonly maxBytes: number
  readonly limits: NativeReadLimits
  readonly firstUses: readonly FirstUse[]
  readonly signal: AbortSignal | undefined
  readonly onProgress: ((progress: ReadProgress) => void) | undefined
}

/** @internal Names of the restore options, except those that locate the files. */
export const restoreOptionNames = [
  'mode',
  'verify',
  'prefetch',
  'into',
  'sections',
  'maxBytes',
  'limits',
  'firstUses',
  'signal',
  'onProgress',
] as const satisfies readonly (keyof RestoreOptions)[]

const modes = ['map', 'copy', 'lazy'] as const
const known = ['parents', ...restoreOptionNames] as const satisfies readonly (keyof RestoreOptions)[]

/** @internal */
export function checkRestoreOptions(options: unknown): RestoreWish {
  const given = checkOptions(options, known)
  const destinations = given.into === undefined ? [] : resolveDestinations(given.into)
  if (given.mode === 'lazy' && destinations.length > 0) {
    throw invalidArgValue("options.into cannot be given with mode 'lazy', which creates its own regions")
  }
  return {
    parents: checkParents(given.parents),
    mode: given.mode === undefined ? 'any' : checkChoice(given.mode, 'options.mode', modes),
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
    firstUses: checkFirstUses(given.firstUses),
    signal: checkSignal(given.signal, 'options.signal'),
    onProgress: checkCallback<(progress: ReadProgress) => void>(given.onProgress, 'options.onProgress'),
  }
}

function checkFirstUses(uses: unknown): FirstUse[] {
  if (uses === undefined) return []
  if (!Array.isArray(uses)) throw invalidArgType('options.firstUses', 'an array of { section, offset }', uses)
  return uses.map((use, index) => {
    const name = `options.firstUses[${index}]`
    if (typeof use !== 'object' || use === null) throw invalidArgType(name, '{ section, offset }', use)
    const { section, offset } = use as Partial<FirstUse>
    return {
      section: checkSectionName(section, `${name}.section`),
      offset: checkInteger(offset, `${name}.offset`, 0, Number.MAX_SAFE_INTEGER),
    }
  })
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
