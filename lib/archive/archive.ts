/** The public API of an archive. */

import { inspect as inspectValue } from 'node:util'
import { CallSite, codeOf, invalidArgType, invalidArgValue, StillframeError } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { checkDirectory } from '../base/path.js'
import { tellSkippedTick } from '../base/tracing.js'
import {
  checkBoolean,
  checkCallback,
  checkChoice,
  checkInteger,
  checkOptions,
  checkSignal,
  optionalInteger,
  type UncheckedOptions,
} from '../base/validate.js'
import type { NothingLater, StateWriter } from '../heap/state-writer.js'
import { resolveSources, type Source } from '../region/source.js'
import { type RestoreOptions, restoreOptionNames } from '../restore/restore.js'
import { captureOptionNames, checkSnapshotOptions, type SnapshotOptions } from '../snapshot/options.js'
import type { Snapshot } from '../snapshot/snapshot.js'
import { isObjectStore, type ObjectStore } from '../store/store.js'
import { type Frame, toFrame } from './frame.js'
import { type Entry, FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { readTable } from './listing.js'
import { storeName } from './names.js'
import { openForReading } from './open.js'
import {
  type ArchiveOptions,
  type CheckedArchiveOptions,
  checkArchiveOptions,
  checkRetention,
  type Retention,
} from './options.js'
import { judgeFrames, type Pruned } from './prune.js'
import type { Replica } from './replica.js'
import {
  type ArchiveRestored,
  type ArchiveRestoreOptions,
  candidates,
  type RestoreWish,
  restoreFrame,
} from './restore.js'
import type { RetentionRules } from './retention.js'
import { type Schedule, type ScheduledSources, startSchedule } from './schedule.js'
import { checkName } from './sets.js'
import { makeSpool } from './spool.js'
import { StorePlace } from './store-place.js'
import { type ArchiveReport, type ArchiveVerifyOptions, type FrameReport, verifyFrames } from './verify.js'
import { ArchiveWriter, type CaptureWish } from './writer.js'

/**
 * Options of `archive.capture()`: those of `snapshot()` that apply to a frame, and options of the
 * archive's own.
 */
export interface CaptureOptions<Returned = unknown, Meta = JsonValue>
  extends Omit<SnapshotOptions<Meta>, 'parent' | 'overwrite' | 'mode' | 'durable'> {
  /**
   * Writes the JavaScript objects of the frame. It runs in a forked copy of the process, made at
   * the instant at which the memory is frozen. See `snapshotState()` of `stillframe/heap` for what
   * it may do.
   */
  state?: ((out: StateWriter) => Returned & NothingLater<Returned>) | undefined
  /** True to capture a full frame instead of a delta. Default false. */
  full?: boolean | undefined
  /**
   * Name of the set that the frame belongs to; see `commitSet()`. The store does not prune the
   * frame for a day, nor after that while the frame is in a committed set. Requires an archive with
   * a store.
   */
  set?: string | undefined
}

/**
 * Options of `archive.schedule()`, and all options of `capture()` except `onProgress` and `set`.
 * `signal` ends the schedule and aborts the capture in progress.
 */
export interface ScheduleOptions<Returned = unknown, Meta = JsonValue>
  extends Omit<CaptureOptions<Returned, Meta>, 'onProgress' | 'set'> {
  /**
   * Interval between frames in milliseconds, an integer from 10 to 2^31 - 1. The first frame is
   * taken after one interval.
   */
  everyMs: number
  /**
   * Takes a frame early once this many bytes have been written, an integer >= 1. Writes are counted
   * in units of 2 MiB, in Regions whose writes are recorded (`trackChanges`): one byte written in a
   * unit counts for all of it. Other kinds of sources count for nothing. On machines that cannot
   * record writes, frames are taken by time alone.
   */
  orChangedBytes?: number | undefined
  /** Called with each frame that was captured. */
  onFrame?: ((frame: Frame) => void) | undefined
  /** Called when a capture fails. The schedule continues. Default: emit a process warning. */
  onError?: ((error: unknown) => void) | undefined
}

/** Options of `archive.frames()`. */
export interface FramesOptions {
  /** Only frames that were frozen at this time or later. */
  from?: Date | undefined
  /** Only frames that were frozen at this time or earlier. */
  to?: Date | undefined
}

/** Options of `archive.prune()`. */
export interface PruneOptions {
  /** True to change nothing and only report what would be pruned. Default false. */
  dryRun?: boolean | undefined
  /** Retention rules for this run. Default: the `retention` of the archive. */
  retention?: Retention | undefined
}

/** What `archive.prune()` did, or would do in a dry run. */
export interface PruneReport {
  /** In order of number. */
  kept: Frame[]
  givenUp: Frame[]
  /**
   * Disk space that was freed, in bytes. The file of a pruned frame stays while a frame that is
   * kept builds on it, until that frame is pruned or compacted.
   */
  freedBytes: number
}

/** @internal */
export function toPruneReport({ kept, givenUp, freedBytes }: Pruned): PruneReport {
  return {
    kept: kept.map(({ entry, because }) => toFrame(entry, because)),
    givenUp: givenUp.map((entry) => toFrame(entry, [])),
    freedBytes,
  }
}

let makeArchive: (parts: ArchiveParts) => Archive

interface ArchiveParts {
  /** Undefined if the archive is in a store alone. */
  readonly directory: string | undefined
  readonly options: CheckedArchiveOptions
  readonly writer: ArchiveWriter | undefined
  /** Removes files that exist only while the archive is open. */
  readonly cleanUp?: () => Promise<void>
}

/**
 * Opens an archive. For writing, this creates the directory if only the last component of its path
 * is missing, removes the leftovers of an earlier writer, and takes a lock until `close()`.
 *
 * Rejects with TypeError or RangeError for invalid arguments, and with a StillframeError: `BUSY` if
 * another writer has the archive open, `NOT_FOUND` if there is nothing to read, `FORMAT` or
 * `VERSION` if the place is not an archive that this version understands, `IO`.
 *
 * If `place` is a store, all frames are in that store, and `done` of a capture resolves when the
 * frame is there. Files in transit are in a directory below `spool`. The first frame after opening
 * is a full one. Opening the archive for writing fences the previous writer (`FENCED`). A store
 * without conditional writes is refused (`UNSUPPORTED_STORE`).
 *
 * @param place - a directory or a store. Relative paths and `file:` URLs are resolved at the call.
 */
export async function openArchive(
  place: string | URL | ObjectStore,
  options?: ArchiveOptions,
): Promise<Archive> {
  const callSite = new CallSite(openArchive)
  if (isObjectStore(place)) return await openInStore(checkArchiveOptions(options, place), callSite)
  const checked = checkArchiveOptions(options, undefined)
  const directory = checkDirectory(place, checked.readOnly ? 'read' : 'write', 'place')
  if (checked.readOnly) {
    const { retention } = await openForReading(directory)
    return makeArchive({
      directory,
      options: { ...checked, retention: checked.retention ?? retention },
      writer: undefined,
    })
  }
  const writer = await ArchiveWriter.open(directory, checked, callSite)
  return makeArchive({ directory, options: checked, writer })
}

async function openInStore(options: CheckedArchiveOptions, callSite: CallSite): Promise<Archive> {
  if (options.readOnly) {
    const archive = makeArchive({ directory: undefined, options, writer: undefined })
    // Reject if there is nothing to read.
    for await (const _ of archive.frames()) break
    return archive
  }
  const spool = await makeSpool(options.spool)
  try {
    const writer = await ArchiveWriter.open(spool.directory, options, callSite, true)
    return makeArchive({ directory: undefined, options, writer, cleanUp: () => spool.remove() })
  } catch (error) {
    await spool.remove()
    throw error
  }
}

/** An archive of frames in a directory, a store, or both; see {@link openArchive}. */
export class Archive {
  /** Absolute path; undefined if the archive is in a store alone. */
  readonly directory: string | undefined
  readonly readOnly: boolean
  readonly #options: CheckedArchiveOptions
  readonly #writer: ArchiveWriter | undefined
  readonly #cleanUp: (() => Promise<void>) | undefined
  /** Reads frames from the store; undefined without a store. */
  readonly #inStore: StorePlace | undefined
  #schedule: Schedule | undefined
  #closed = false

  static {
    makeArchive = (parts) => new Archive(parts)
  }

  private constructor({ directory, options, writer, cleanUp }: ArchiveParts) {
    if (options === undefined) throw new TypeError('Archive has no public constructor: use openArchive()')
    this.directory = directory
    this.readOnly = options.readOnly
    this.#options = options
    this.#writer = writer
    this.#cleanUp = cleanUp
    this.#inStore = options.store && new StorePlace(options.store, options.spool)
  }

  /** How error messages refer to the archive. */
  get #name(): string {
    return this.directory ?? storeName
  }

  /**
   * Captures memory, and the objects that `state` writes, as one frame of this instant. Like
   * `snapshot()` it blocks until everything is frozen. The frame is in the archive once `done`
   * resolves. Before that, or if `done` rejects, the archive does not have it.
   *
   * The frame builds on the newest one and holds only the differences. Where possible, changes are
   * recorded between frames (`trackChanges`, which defaults to true here).
   *
   * @throws TypeError, RangeError for invalid arguments; the signal's reason if it is already
   *   aborted; StillframeError for failures up to the freeze, such as `ERR_STILLFRAME_BUSY` while
   *   another frame is captured, or if `state` is given and V8's threads are not at rest. Later
   *   failures reject `done`.
   */
  capture<Returned = unknown, Meta = JsonValue>(
    sources: Source | Record<string, Source>,
    options?: CaptureOptions<Returned, Meta>,
  ): Snapshot {
    const checked = checkCapture(checkOptions(options, frameOptionNames))
    if (checked.set !== undefined && this.#inStore === undefined) {
      throw invalidArgValue('options.set is for archives with a store. Pass options.store to openArchive()')
    }
    return this.#writing('capture').capture({ sources, ...checked, entry: this.capture })
  }

  /**
   * Captures a frame every `everyMs` until the schedule is stopped. Captures never overlap: a tick
   * during a capture is skipped and counted. A frame that fails for a transient reason is retried a
   * few times at once. Failed frames do not end the schedule.
   *
   * The timer does not keep the process alive. `close()` ends the schedule as `stop()` does.
   *
   * @param sources - memory, or a function that returns it for each frame, for example because
   *   regions come and go.
   * @throws TypeError, RangeError for invalid arguments; StillframeError `ERR_STILLFRAME_BUSY` if
   *   there already is a schedule.
   */
  schedule<Returned = unknown, Meta = JsonValue>(
    sources: ScheduledSources,
    options: ScheduleOptions<Returned, Meta>,
  ): Schedule {
    const given = checkOptions(options, [...frameOptionNames, ...scheduleOptionNames])
    const { everyMs, orChangedBytes, onFrame, onError, signal, onProgress, ...rest } = given
    if (onProgress !== undefined) throw invalidArgValue('options.onProgress cannot be used with schedules')
    if (rest.set !== undefined)
      throw invalidArgValue('options.set cannot be used with schedules: each set has its own name')
    if (orChangedBytes !== undefined && rest.trackChanges === false) {
      throw invalidArgValue(
        'options.orChangedBytes needs a record of writes, which trackChanges: false rules out',
      )
    }
    checkCapture(rest)
    const request = {
      sources,
      everyMs: checkInteger(everyMs, 'options.everyMs', 10, 2 ** 31 - 1),
      orChangedBytes: optionalInteger(orChangedBytes, 'options.orChangedBytes', 1, Number.MAX_SAFE_INTEGER),
      signal: checkSignal(signal, 'options.signal'),
      onFrame: checkCallback<(frame: Frame) => void>(onFrame, 'options.onFrame'),
      onError: checkCallback<(error: unknown) => void>(onError, 'options.onError'),
    }
    if (typeof sources !== 'function') resolveSources(sources)
    const writer = this.#writing('schedule')
    request.signal?.throwIfAborted()
    if (this.#schedule !== undefined) {
      throw new StillframeError(
        'ERR_STILLFRAME_BUSY',
        `${this.#name}: a schedule is already running. Stop it first: frames build on one another, and one ` +
          'schedule is enough',
        { path: this.directory },
      )
    }
    this.#schedule = startSchedule({
      ...request,
      capture: (memory) => this.capture(memory, rest as CaptureOptions),
      frameOf: ({ id }) => toFrame(writer.table.byId(id) as KnownEntry, ['newest']),
      onSkipped: () => tellSkippedTick(this.#name),
      onStopped: () => {
        this.#schedule = undefined
      },
    })
    return this.#schedule
  }

  /**
   * Lists the frames, in order of number; with a store, in order of `frozenAt`. This does not
   * disturb the writer. A frame that is pruned meanwhile may or may not be listed.
   *
   * @throws TypeError for invalid arguments; StillframeError.
   */
  async *frames(options?: FramesOptions): AsyncGenerator<Frame, void, undefined> {
    const { from, to } = checkOptions(options, ['from', 'to'])
    const fromMs = from === undefined ? Number.NEGATIVE_INFINITY : checkDate(from, 'options.from')
    const toMs = to === undefined ? Number.POSITIVE_INFINITY : checkDate(to, 'options.to')
    this.#refuseClosed()
    for (const frame of await this.#frames()) {
      const at = frame.frozenAt.getTime()
      if (at >= fromMs && at <= toMs) yield frame
    }
  }

  /** Frames of the directory and of the store, in order of `frozenAt`. */
  async #frames(): Promise<Frame[]> {
    const here = await this.#framesHere()
    if (this.#inStore === undefined) return here
    const there = await this.#framesInStore(here.length > 0)
    const copies = new Set(there.map(({ id }) => id))
    const ids = new Set(here.map(({ id }) => id))
    for (const { id, places } of here) if (copies.has(id)) places.push('store')
    const all = [...here, ...there.filter(({ id }) => !ids.has(id))]
    return all.sort((a, b) => a.frozenAt.getTime() - b.frozenAt.getTime() || a.number - b.number)
  }

  /** Undefined if the archive has no directory. */
  async #tableHere(): Promise<FrameTable | undefined> {
    if (this.directory === undefined) return undefined
    return this.#writer?.table ?? (await readTable(this.directory))
  }

  async #framesHere(): Promise<Frame[]> {
    const { directory } = this
    const table = await this.#tableHere()
    if (directory === undefined || table === undefined) return []
    const reasons =
      (await this.#writer?.reasons()) ??
      (await judgeFrames(directory, table, this.#options.retention)).reasons
    return table
      .listed()
      .filter(isKnown)
      .map((entry) => toFrame(entry, reasons.get(entry.number) ?? ['not pruned yet']))
  }

  async #framesInStore(optional: boolean): Promise<Frame[]> {
    const { storeRetention, retention } = this.#options
    const rules = this.directory === undefined ? retention : storeRetention
    const frames = await this.#ifThere(optional, (place) => place.frames(rules))
    for (const { keptBecause } of frames ?? [])
      if (keptBecause.length === 0) keptBecause.push('not pruned yet')
    return frames ?? []
  }

  /**
   * @param optional - true to ignore a store that cannot be reached.
   * @returns undefined if the store was ignored, or holds no archive. A reader for which the store
   *   is not optional rejects if there is no archive.
   */
  async #ifThere<Value>(
    optional: boolean,
    look: (place: StorePlace) => Promise<Value>,
  ): Promise<Value | undefined> {
    try {
      return await look(this.#inStore as StorePlace)
    } catch (error) {
      // A user-supplied store may throw errors of another realm.
      const code = codeOf(error)
      if (code === 'ERR_STILLFRAME_NOT_FOUND' && (optional || this.#writer !== undefined)) return undefined
      if (code === 'ERR_STILLFRAME_IO' && optional) return undefined
      throw error
    }
  }

  /**
   * Restores a frame, as `restore()` restores a file: the newest one at or before `at`, or the one
   * with `id`. A damaged frame is skipped (see `skipped`), unless `onDamage` is `'throw'`. The
   * frame is not pruned during the restore, nor, with mode `'map'`, until its regions are closed or
   * collected.
   *
   * Rejects as `restore()` does, and with a StillframeError: `GAP` if no frame at or before `at` is
   * intact, `NOT_FOUND` if there is no frame with `id`, or no frame at all yet.
   */
  async restore<Meta = JsonValue>(options?: ArchiveRestoreOptions): Promise<ArchiveRestored<Meta>> {
    const { at, id, onDamage, ...rest } = checkOptions(options, [...wishNames, ...restoreOptionNames])
    const wish = checkWish(at, id)
    const otherwise = 'id' in wish ? 'throw' : 'older'
    this.#refuseClosed()
    const request = {
      wish,
      onDamage:
        onDamage === undefined ? otherwise : checkChoice(onDamage, 'options.onDamage', ['older', 'throw']),
      options: rest as RestoreOptions,
    } as const
    const { directory } = this
    if (directory === undefined || (await this.#isBetterInStore(wish))) {
      return await (this.#inStore as StorePlace).restore<Meta>(request)
    }
    return await restoreFrame<Meta>({
      ...request,
      directory,
      onDamaged: (number) => this.#writer?.distrust(number),
    })
  }

  /** True if only the store has a frame that matches, or if the store's match for `at` is newer. */
  async #isBetterInStore(wish: RestoreWish): Promise<boolean> {
    if (this.#inStore === undefined) return false
    const here = (await this.#tableHere()) ?? new FrameTable()
    const [bestHere] = candidates(here, wish)
    if ('latest' in wish && bestHere !== undefined) return false
    const there = await this.#ifThere(here.listed().length > 0, (place) => place.table())
    const [bestThere] = candidates(there ?? new FrameTable(), wish)
    if (bestThere === undefined || bestHere === undefined) return bestThere !== undefined
    return 'atMs' in wish && frozenAtOf(bestThere) > frozenAtOf(bestHere)
  }

  /**
   * Removes the frames that no retention rule keeps. The newest frame always stays, as do the
   * newest intact one and frames that are being read.
   *
   * Rejects with TypeError or RangeError for invalid arguments, and with a StillframeError: `IO`,
   * `NO_SPACE`, `CLOSED`.
   */
  async prune(options?: PruneOptions): Promise<PruneReport> {
    const given = checkOptions(options, ['dryRun', 'retention'])
    const dryRun = checkBoolean(given.dryRun, 'options.dryRun', false)
    const rules =
      given.retention === undefined ? undefined : checkRetention(given.retention, 'options.retention')
    const writer = this.#writing('prune')
    if (this.directory !== undefined) return toPruneReport(await writer.prune(rules, dryRun))
    return await this.#pruneStore(writer.replica as Replica, rules ?? this.#options.retention, dryRun)
  }

  async #pruneStore(
    replica: Replica,
    rules: RetentionRules | undefined,
    dryRun: boolean,
  ): Promise<PruneReport> {
    const before = await (this.#inStore as StorePlace).frames(rules)
    const givenUp = before.filter(({ keptBecause }) => keptBecause.length === 0)
    if (!dryRun) await replica.prune(rules)
    // Objects of pruned frames are removed from the store after a grace period of a day.
    return { kept: before.filter(({ keptBecause }) => keptBecause.length > 0), givenUp, freedBytes: 0 }
  }

  /**
   * Resolves once all complete frames are in the store; at once if the archive has no store.
   * Rejects with the signal's reason, or with a StillframeError if copying has ended (`FENCED`,
   * `UNSUPPORTED_STORE`, `CLOSED`).
   */
  async copied(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    const signal = checkSignal(checkOptions(options, ['signal']).signal, 'options.signal')
    this.#refuseClosed()
    await this.#writer?.replica?.settled(signal)
  }

  /**
   * Replaces the file of the newest frame with one full file, made of the frame and its parents.
   * The frame itself stays the same. An archive also does this by itself (`fullEvery`).
   *
   * @returns the frame; undefined if there was nothing to do.
   */
  async compact(options?: { signal?: AbortSignal | undefined }): Promise<Frame | undefined> {
    const given = checkOptions(options, ['signal'])
    const signal = checkSignal(given.signal, 'options.signal')
    const compacted = await this.#writing('compact').compact(signal)
    return compacted && toFrame(compacted, [])
  }

  /**
   * Reads every byte of every frame. Damage is not an error: the report lists it frame by frame.
   * Rejects with the signal's reason, with TypeError for invalid arguments, and with a
   * StillframeError if the archive no longer exists or its store cannot be reached (`IO`).
   */
  async verify(options?: ArchiveVerifyOptions): Promise<ArchiveReport> {
    const given = checkOptions(options, ['signal', 'places', 'onProgress'])
    const signal = checkSignal(given.signal, 'options.signal')
    const places = this.#checkPlaces(given.places)
    const onProgress = checkCallback<NonNullable<ArchiveVerifyOptions['onProgress']>>(
      given.onProgress,
      'options.onProgress',
    )
    this.#refuseClosed()
    signal?.throwIfAborted()
    const both = places.size > 1
    let later = both ? (await (this.#inStore as StorePlace).table()).listed().length : 0
    let earlier = 0
    const progress: ArchiveVerifyOptions['onProgress'] =
      onProgress &&
      (({ framesDone, framesTotal }) =>
        onProgress({ framesDone: earlier + framesDone, framesTotal: earlier + framesTotal + later }))
    const frames: FrameReport[] = []
    if (this.directory !== undefined && places.has('directory')) {
      const { directory } = this
      const onDamaged = (number: number): void => this.#writer?.distrust(number)
      frames.push(...(await verifyFrames({ directory, signal, onProgress: progress, onDamaged })))
    }
    if (places.has('store')) {
      ;[earlier, later] = [frames.length, 0]
      const there = await (this.#inStore as StorePlace).verify({ signal, onProgress: progress })
      if (there.some(({ ok }) => !ok)) this.#writer?.startAnew()
      frames.push(...there)
    }
    return { ok: frames.every(({ ok }) => ok), frames }
  }

  #checkPlaces(given: unknown): ReadonlySet<Frame['places'][number]> {
    const name = 'options.places'
    if (given === undefined) return new Set([this.directory === undefined ? 'store' : 'directory'])
    if (!Array.isArray(given)) throw invalidArgType(name, "an array of 'directory' and 'store'", given)
    const places = new Set(
      given.map((place, index) => checkChoice(place, `${name}[${index}]`, ['directory', 'store'])),
    )
    if (places.size === 0) throw invalidArgValue(`${name} must have at least one of 'directory' and 'store'`)
    const lacking =
      (places.has('directory') && this.directory === undefined && 'directory') ||
      (places.has('store') && this.#inStore === undefined && 'store')
    if (lacking) throw invalidArgValue(`${name} has '${lacking}', and the archive has none`)
    return places
  }

  /**
   * Stops the schedule, waits for the capture in progress, aborts a compaction, and releases the
   * lock. Restored memory stays valid. Closing a closed archive does nothing.
   */
  async close(): Promise<void> {
    this.#closed = true
    await this.#schedule?.stop()
    await this.#writer?.close()
    await this.#cleanUp?.()
  }

  /** The same as {@link Archive.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  /** @internal */
  [inspectValue.custom](_depth: number, options: object): string {
    const { readOnly } = this
    const directory = this.#name
    const state = this.#closed ? 'closed' : 'open'
    return `Archive ${inspectValue({ directory, readOnly, state }, options)}`
  }

  #writing(what: string): ArchiveWriter {
    this.#refuseClosed()
    if (this.#writer === undefined) {
      throw invalidArgValue(`${what}() needs an archive that was opened for writing, without readOnly: true`)
    }
    return this.#writer
  }

  #refuseClosed(): void {
    if (!this.#closed) return
    throw new StillframeError(
      'ERR_STILLFRAME_CLOSED',
      `${this.#name}: the archive is closed. Open it again`,
      {
        path: this.directory,
      },
    )
  }
}

/** A frame whose time is unknown counts as older than all others. */
function frozenAtOf({ manifest }: Entry): number {
  return manifest?.frozenAtMs ?? Number.NEGATIVE_INFINITY
}

/** @throws TypeError, RangeError. */
function checkCapture(
  given: UncheckedOptions<(typeof frameOptionNames)[number]>,
): Omit<CaptureWish, 'sources' | 'entry'> {
  const { state, full, set, trackChanges = true, ...rest } = given
  return {
    options: checkSnapshotOptions({ ...rest, trackChanges, overwrite: false }),
    state: checkCallback<(out: StateWriter) => unknown>(state, 'options.state'),
    full: checkBoolean(full, 'options.full', false),
    set: set === undefined ? undefined : checkName(set, 'options.set'),
  }
}

const scheduleOptionNames = ['everyMs', 'orChangedBytes', 'onFrame', 'onError'] as const

const frameOptionNames = [
  ...captureOptionNames,
  'state',
  'full',
  'set',
] as const satisfies readonly (keyof CaptureOptions)[]

const wishNames = ['at', 'id', 'onDamage'] as const satisfies readonly (keyof ArchiveRestoreOptions)[]

function checkWish(at: unknown, id: unknown): RestoreWish {
  if (id !== undefined) {
    if (typeof id !== 'string') throw invalidArgType('options.id', 'a string', id)
    if (at !== undefined) throw invalidArgValue('options.id and options.at cannot both be given')
    return { id }
  }
  if (at === undefined || at === 'latest') return { latest: true }
  return { atMs: checkDate(at, 'options.at') }
}

/** Accepts Dates of any realm. */
function checkDate(value: unknown, name: string): number {
  const time: unknown = (value as Partial<Date> | null)?.getTime?.()
  if (typeof time !== 'number') throw invalidArgType(name, 'a Date', value)
  if (Number.isNaN(time)) throw invalidArgValue(`${name} is an invalid Date`)
  return time
}
