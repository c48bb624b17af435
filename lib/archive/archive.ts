/** The archive as its users see it. */

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

/** Options of `archive.capture()`: those of `snapshot()` that make sense for a frame, and its objects. */
export interface CaptureOptions<Returned = unknown, Meta = JsonValue>
  extends Omit<SnapshotOptions<Meta>, 'parent' | 'overwrite' | 'mode' | 'durable'> {
  /**
   * Writes the JavaScript objects of the frame. It runs in a forked copy of the process, at the instant at which the
   * memory is frozen: see `snapshotState()` of `stillframe/heap` for what it may do.
   */
  state?: ((out: StateWriter) => Returned & NothingLater<Returned>) | undefined
  /** True: the frame builds on no other one. Default false. */
  full?: boolean | undefined
  /**
   * Name of the set that the frame is to belong to: see `commitSet()`. Until that, or a day, is over, it is not given up in the store,
   * which the archive must have.
   */
  set?: string | undefined
}

/**
 * Options of `archive.schedule()`, and all of `capture()` but `onProgress`. `signal` ends the schedule, and aborts what is
 * being captured.
 */
export interface ScheduleOptions<Returned = unknown, Meta = JsonValue>
  extends Omit<CaptureOptions<Returned, Meta>, 'onProgress' | 'set'> {
  /** Milliseconds from one frame to the next, an integer from 10 to 2^31 - 1. The first is taken after that time. */
  everyMs: number
  /**
   * A frame is taken earlier when so many bytes have been written to, an integer >= 1. What counts are units of 2 MiB of
   * Regions whose writes are recorded (`trackChanges`): one byte in a unit counts for all of it. Sources of another kind, and
   * machines that cannot record writes, count for nothing: there frames are taken by time alone.
   */
  orChangedBytes?: number | undefined
  /** Called with each frame that has been taken. */
  onFrame?: ((frame: Frame) => void) | undefined
  /** Called when a frame could not be taken. The schedule goes on. Default: a warning of the process. */
  onError?: ((error: unknown) => void) | undefined
}

/** Options of `archive.frames()`. */
export interface FramesOptions {
  /** Only frames that were frozen then or later. */
  from?: Date | undefined
  /** Only frames that were frozen then or earlier. */
  to?: Date | undefined
}

/** Options of `archive.prune()`. */
export interface PruneOptions {
  /** True: nothing is done; the report says what would be. Default false. */
  dryRun?: boolean | undefined
  /** What is kept, this time. Default: the `retention` of the archive. */
  retention?: Retention | undefined
}

/** What `archive.prune()` did, or would do. */
export interface PruneReport {
  /** In order of number, as `frames()` lists them from now on. */
  kept: Frame[]
  givenUp: Frame[]
  /**
   * Bytes of the disk that have been set free. A file that a younger frame builds on goes when that frame is given
   * up, or has been compacted.
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
  /** Undefined: the archive is in a store alone. */
  readonly directory: string | undefined
  readonly options: CheckedArchiveOptions
  readonly writer: ArchiveWriter | undefined
  /** Removes what was for the time of the archive only. */
  readonly cleanUp?: () => Promise<void>
}

/**
 * Opens the archive in a directory. A writer makes the directory if only the last part of the path is missing, removes
 * what an earlier writer has left half-made, and holds a lock until `close()`.
 *
 * Rejects with TypeError or RangeError for wrong arguments, and with a StillframeError: `BUSY` if there is another writer,
 * `NOT_FOUND` if there is nothing to read, `FORMAT` or `VERSION` if it is no archive of ours, `IO`.
 *
 * With a store as the place there are no frames but those in the store: `done` of a capture resolves when the frame is there. Files lie
 * in a directory below `spool` on their way; the first frame after opening is a full one. A writer that opens the archive fences
 * the one before (`FENCED`). A store that lacks conditional writes is refused (`UNSUPPORTED_STORE`).
 *
 * @param place - a directory, or a store; relative paths and `file:` URLs are resolved at the call.
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
    // There has to be something to read.
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

/** The memory of a service with a past: a directory of frames; see {@link openArchive}. */
export class Archive {
  /** Absolute; undefined: the archive is in a store alone. */
  readonly directory: string | undefined
  readonly readOnly: boolean
  readonly #options: CheckedArchiveOptions
  readonly #writer: ArchiveWriter | undefined
  readonly #cleanUp: (() => Promise<void>) | undefined
  /** What is read in the store. */
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

  /** As messages call it. */
  get #name(): string {
    return this.directory ?? storeName
  }

  /**
   * Captures memory, and the objects that `state` writes, as one frame of this instant. Like `snapshot()` it blocks
   * until all is frozen. The frame is in the archive when `done` resolves; before, and if it rejects, there is none.
   *
   * It builds on the newest frame, and holds only what differs from that. Changes are recorded between frames where that is
   * possible (`trackChanges`, which is true by default here).
   *
   * @throws TypeError, RangeError for wrong arguments; the signal's reason if it is aborted already; StillframeError for
   *   what fails up to the freeze, such as `ERR_STILLFRAME_BUSY` while another frame is captured, or if `state` is given and
   *   V8's threads are not at rest. Later failures reject `done`.
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
   * Takes a frame every `everyMs`, until it is stopped. Never are two captured at once: a time that comes while the frame before
   * is still being captured is skipped, and counted. A frame that fails for a reason which passes by itself is tried again at once,
   * a few times; one that fails for good does not end the schedule.
   *
   * The timer does not keep the process alive. `close()` ends the schedule as `stop()` does.
   *
   * @param sources - memory, or a function that is called for each frame: say, because regions come and go.
   * @throws TypeError, RangeError for wrong arguments; StillframeError `ERR_STILLFRAME_BUSY` if there is a schedule already.
   */
  schedule<Returned = unknown, Meta = JsonValue>(
    sources: ScheduledSources,
    options: ScheduleOptions<Returned, Meta>,
  ): Schedule {
    const given = checkOptions(options, [...frameOptionNames, ...scheduleOptionNames])
    const { everyMs, orChangedBytes, onFrame, onError, signal, onProgress, ...rest } = given
    if (onProgress !== undefined) throw invalidArgValue('options.onProgress is not for schedules')
    if (rest.set !== undefined)
      throw invalidArgValue('options.set is not for schedules: each set has a name of its own')
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
        `${this.#name}: there is a schedule already. Stop it first: frames build on one another, and one has all that is needed`,
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
   * The frames that are there, in order of number. A writer is not disturbed; a frame that it gives up meanwhile may be
   * among them or not.
   *
   * @throws TypeError for wrong arguments; StillframeError.
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

  /** Those of the directory and of the store, in the order of their instants. */
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

  /** Undefined if there is no directory. */
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
   * Of a store without an archive, undefined.
   *
   * @param optional - a store that cannot be reached now is as good as none.
   */
  async #ifThere<Value>(
    optional: boolean,
    look: (place: StorePlace) => Promise<Value>,
  ): Promise<Value | undefined> {
    try {
      return await look(this.#inStore as StorePlace)
    } catch (error) {
      // A store of the user's may throw errors of another realm.
      const code = codeOf(error)
      if (code === 'ERR_STILLFRAME_NOT_FOUND' && (optional || this.#writer !== undefined)) return undefined
      if (code === 'ERR_STILLFRAME_IO' && optional) return undefined
      throw error
    }
  }

  /**
   * Restores a frame, as `restore()` does a file: the newest at or before `at`, or that with `id`. A frame that is damaged
   * is passed over (`skipped`), unless `onDamage` is `'throw'`. Until the restore is over the frame is not given up; with
   * mode `'map'`, until its regions are closed or collected.
   *
   * Rejects as `restore()` does, and with a StillframeError: `GAP` if there is no whole frame at or before `at`, `NOT_FOUND`
   * if there is none with `id`, or none at all yet.
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

  /** Whether the store has the frame that is wanted, or a younger one that would do, and the directory has not. */
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
   * Gives up the frames that no rule of the retention keeps. The newest frame stays, and so do the newest that is whole, and
   * those that somebody is reading.
   *
   * Rejects with TypeError or RangeError for wrong arguments, and with a StillframeError: `IO`, `NO_SPACE`, `CLOSED`.
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
    // What was given up is removed after a day's grace.
    return { kept: before.filter(({ keptBecause }) => keptBecause.length > 0), givenUp, freedBytes: 0 }
  }

  /**
   * Resolves when all frames that are complete are in the store, and rejects with the signal's reason, or with a StillframeError if nothing
   * is copied any more (`FENCED`, `UNSUPPORTED_STORE`, `CLOSED`). Without a store it resolves at once.
   */
  async copied(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    const signal = checkSignal(checkOptions(options, ['signal']).signal, 'options.signal')
    this.#refuseClosed()
    await this.#writer?.replica?.settled(signal)
  }

  /**
   * Makes one full file of the newest frame and all that it builds on, in its place: the frame stays what it is. Archives do
   * that by themselves (`fullEvery`).
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
   * Reads every byte of every frame. Damage is not an error: the report says what is damaged, frame by frame. Rejects with the
   * signal's reason, with TypeError for wrong arguments, and with a StillframeError if there is no archive any more, or if
   * its store cannot be reached (`IO`).
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
   * Stops the schedule, waits for the capture that is running, ends a compaction, and lets the next writer in. What has been restored stays
   * as it is. Closing a closed archive does nothing.
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

/** Of what nothing is known it is never. */
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
    if (at !== undefined) throw invalidArgValue('options.id and options.at cannot be given both')
    return { id }
  }
  if (at === undefined || at === 'latest') return { latest: true }
  return { atMs: checkDate(at, 'options.at') }
}

/** Of any realm. */
function checkDate(value: unknown, name: string): number {
  const time: unknown = (value as Partial<Date> | null)?.getTime?.()
  if (typeof time !== 'number') throw invalidArgType(name, 'a Date', value)
  if (Number.isNaN(time)) throw invalidArgValue(`${name} is an invalid Date`)
  return time
}
