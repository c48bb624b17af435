/** Getting memory back from a snapshot file. */

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

/** A block of memory of 256 KiB that somebody had to wait for. It can be kept as JSON. */
export interface FirstUse {
  readonly section: string
  /** Bytes from the beginning of the section. */
  readonly offset: number
}

/** Options of {@link restore}. */
export interface RestoreOptions extends ParentOptions {
  /**
   * `'map'`: a private mapping of the file, made in an instant. Pages are read when they are
   * touched, and the file must stay as it is for as long as the regions live (replacing it by a new
   * snapshot is fine, writing into it is not). Compressed files are refused. `'copy'`: fresh
   * memory, independent of the file. `'lazy'`: the same, but handed out at once: each page is read and
   * checked when it is touched, and all others in the background; whoever touches one waits for it. `ready` of what
   * is returned tells how it ends. Default: `'map'`, and `'copy'` for compressed files. See
   * docs/RESTORE.md.
   */
  mode?: 'map' | 'copy' | 'lazy' | undefined
  /**
   * True: the pages of mapped regions are read in the background, in order, so that later accesses
   * need not wait for the disk. Reading ends by itself, or when the regions are closed. Default
   * false. It has no effect on copies.
   */
  prefetch?: boolean | undefined
  /**
   * True (default): all bytes are read and their checksums compared before any memory is handed
   * out; with mode `'lazy'` each block before any of it can be seen. False: only the header, the
   * section table and the index are checked, and the pages are trusted.
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
  /**
   * With mode `'lazy'`: what is fetched first in the background, in this order, before anybody touches it: `firstUses` of an earlier
   * restore. What this file does not have is passed over.
   */
  firstUses?: readonly FirstUse[] | undefined
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
 * `CORRUPT`, `IO`, for destinations `BUSY` or `CLOSED`, and with mode `'lazy'` `ENGINE_UNAVAILABLE` where the process may not use
 * userfaultfd.
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
    // The metadata is no JSON.
    filling.close()
    closeAll(native)
    throw error
  }
}

/** @internal Files that are not on this machine. */
export type FarFiles = Pick<ChainPlan, 'files' | 'onRead'>

/** @internal Into fresh memory. `name`: of where they are, for messages. */
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
  // If looking for the memory threw, that error is the reason; native code only knows that
  // something was thrown.
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
    // The metadata is no JSON, so nobody will get the regions.
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
  /**
   * Settled when all memory is there: at once, but for mode `'lazy'`. It rejects with a StillframeError when a page cannot be read
   * or is damaged (`CORRUPT`, `IO`), with the reason of the signal, and with `CLOSED` if the memory is closed before. Whatever is
   * not there then can never be touched: whoever does so, or is waiting for it, gets a SIGSEGV, a system call `EFAULT`.
   */
  readonly ready: Promise<void>
  /**
   * Of mode `'lazy'`: which memory was used first, in the order of use, as far as somebody had to wait for it; after the
   * `firstUses` that the restore was given, which come before they are touched. Given to the next restore, it has them when they are
   * used. Empty in other modes.
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
    // Without a prototype: a section may be called '__proto__'.
    this.regions = Object.create(null) as Record<string, Region>
    for (const { name, region } of native.sections) {
      if (region !== undefined) this.regions[name] = adoptRegion(region, name, anonymous)
    }
  }

  /**
   * Closes all `regions` that are still open, but no memory of the caller. It ends a lazy restore.
   *
   * @throws StillframeError `ERR_STILLFRAME_BUSY`, before any is closed, if a snapshot uses one of
   *   them.
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

/** @internal What a restore is asked for, apart from where the files are. */
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
    throw invalidArgValue("options.into cannot be given with mode 'lazy', which makes regions of its own")
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
