/**
 * The one writer of an archive: takes frames, gives others up, and makes full files of chains that have grown long. It
 * knows all frames by heart, since nobody else changes them.
 *
 * One capture at a time. What is done about older frames (`#tidy`) is done one after the other, beside the captures;
 * a compaction reads and writes beside both, and only takes its turn to put its file in place.
 */

import { existsSync } from 'node:fs'
import type { FileHandle } from 'node:fs/promises'
import { performance } from 'node:perf_hooks'
import { loadHeapAddon } from '../addon/heap-addon.js'
import { CallSite, codeOf, StillframeError } from '../base/errors.js'
import { newId } from '../base/snapshot-id.js'
import type { Trace } from '../base/tracing.js'
import { forkJob } from '../heap/fork-job.js'
import { checkForkOptions } from '../heap/options.js'
import { stateRun } from '../heap/state-job.js'
import type { StateWriter } from '../heap/state-writer.js'
import { resolveSources } from '../region/source.js'
import { refuseInFrozenCopy } from '../snapshot/frozen-copy.js'
import type { CheckedParent, CheckedSnapshotOptions } from '../snapshot/options.js'
import { beginSnapshot, type Snapshot, tellFrozen } from '../snapshot/snapshot.js'
import { compactFrame } from './compaction.js'
import { type FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { pathOf, storeName } from './names.js'
import { openForWriting } from './open.js'
import type { CheckedArchiveOptions } from './options.js'
import {
  foreseePrune,
  judgeFrames,
  type Pruned,
  prunedOf,
  removeRetired,
  removeUnknown,
  retireFrames,
} from './prune.js'
import { Publication } from './publication.js'
import { Replica } from './replica.js'
import type { RetentionRules } from './retention.js'
import { type CaptureTrace, captures, prunes, tellArchive } from './trace.js'
import { warn } from './warning.js'

/** A capture whose options have been checked. */
export interface CaptureWish {
  readonly sources: unknown
  readonly options: CheckedSnapshotOptions
  readonly state: ((out: StateWriter) => unknown) | undefined
  /** True: the frame builds on no other. */
  readonly full: boolean
  /** The set that it is to belong to. */
  readonly set: string | undefined
  /** The exported method that was called. */
  readonly entry: (...args: never[]) => unknown
}

/**
 * A chain may become so many times as long as it should before the next frame has to be a full one: where frames come
 * faster than they are compacted, it would grow for ever.
 */
const longestChainFactor = 4

const spoolRetention = { last: 1 }

export class ArchiveWriter {
  readonly directory: string
  readonly table: FrameTable
  readonly #options: CheckedArchiveOptions
  readonly #lock: FileHandle
  #nextNumber: number
  /** The capture that is running, with all that belongs to it. */
  #capture: Promise<void> | undefined
  /** Frames that could not be read when it was tried. */
  readonly #distrusted = new Set<number>()
  /** Those that somebody was reading when they were to be given up. */
  #inUse = new Set<number>()
  /** The next frame builds on no other, since that has just failed. */
  #startAnew = false
  #tidying: Promise<unknown> = Promise.resolve()
  #compacting: { readonly done: Promise<unknown>; abort(reason: unknown): void } | undefined
  /** No compaction begins by itself before the chain is so long. */
  #compactFrom: number
  #closed: Promise<void> | undefined
  /** Copies the frames into a store. */
  readonly #replica: Replica | undefined
  /** The directory is only on the way to the store. */
  readonly #isSpool: boolean

  private constructor(
    directory: string,
    options: CheckedArchiveOptions,
    opened: Awaited<ReturnType<typeof openForWriting>>,
    replica: Replica | undefined,
    isSpool: boolean,
  ) {
    this.directory = directory
    this.#options = options
    this.#lock = opened.lock
    this.table = opened.table
    // A directory that was begun anew goes on behind what the store has.
    this.#nextNumber = Math.max(opened.nextNumber, 1 + (replica?.frames.at(-1)?.number ?? 0))
    this.#replica = replica
    this.#isSpool = isSpool
    this.#compactFrom = options.fullEvery
  }

  static async open(
    directory: string,
    options: CheckedArchiveOptions,
    callSite: CallSite,
    isSpool = false,
  ): Promise<ArchiveWriter> {
    // What passes through a spool is kept for as long as the next frame builds on it.
    const here = isSpool ? { ...options, retention: spoolRetention } : options
    const opened = await openForWriting(directory, here, callSite)
    const { store } = options
    let writer: ArchiveWriter | undefined
    try {
      const request = store && {
        directory,
        name: isSpool ? storeName : directory,
        table: opened.table,
        store,
        retention: isSpool ? options.retention : options.storeRetention,
        onCopied: () => writer?.giveUpByRule(),
      }
      const replica = request && (await Replica.open(request))
      writer = new ArchiveWriter(directory, here, opened, replica, isSpool)
      return writer
    } catch (error) {
      await opened.lock.close()
      throw error
    }
  }

  /** Of the archive in the store; undefined: there is no store. */
  get replica(): Replica | undefined {
    return this.#replica
  }

  /**
   * Somebody has found that this frame cannot be read: nothing may build on it. It may be a file further down that is
   * damaged, on which others build as well, so the next frame builds on none of them.
   */
  distrust(number: number): void {
    this.#distrusted.add(number)
    this.#startAnew = true
  }

  /** The copies of what the next frame would build on are not to be relied on. */
  startAnew(): void {
    this.#startAnew = true
  }

  /** True while a capture runs. */
  get capturing(): boolean {
    return this.#capture !== undefined
  }

  capture(wish: CaptureWish): Snapshot {
    const calledAt = performance.now()
    refuseInFrozenCopy('capture')
    this.#refuseClosed()
    const { signal } = wish.options
    const id = newId()
    return captures.call(
      () => ({ archive: this.#label, number: this.#nextNumber, id, path: this.#pathOfNext() }),
      signal,
      (trace) => this.#begin(wish, { calledAt, id, trace }),
    )
  }

  /** How it is called by those who look on. */
  get #label(): string {
    return this.#isSpool ? storeName : this.directory
  }

  #pathOfNext(): string {
    return pathOf(this.directory, this.#nextNumber, 'memory')
  }

  #begin(
    { sources: given, options, state, full, set, entry }: CaptureWish,
    call: { calledAt: number; id: string; trace: Trace<CaptureTrace> | undefined },
  ): Snapshot {
    const { calledAt, trace } = call
    const sources = resolveSources(given)
    if (this.#capture !== undefined) {
      throw new StillframeError(
        'ERR_STILLFRAME_BUSY',
        `${this.#label}: a frame is being captured. Await its 'done' first, or abort it`,
        { path: this.directory },
      )
    }
    if (options.signal?.aborted) throw options.signal.reason
    const path = this.#pathOfNext()
    const number = this.#nextNumber++
    const parent = full ? undefined : this.#parentOfNext()
    // First, since this is what may be refused. No JavaScript runs until the memory is frozen as well.
    const job =
      state &&
      forkJob({
        calledAt,
        addon: loadHeapAddon(),
        path: pathOf(this.directory, number, 'state'),
        run: stateRun(state),
        options: checkForkOptions({
          retry: false,
          overwrite: false,
          nice: options.pacing.nice,
          ...(options.limits.memoryLimit > 0 && { memoryLimit: options.limits.memoryLimit }),
        }),
        callSite: new CallSite(entry),
        entry,
      })
    let ended: () => void = () => {}
    const publication = new Publication({
      directory: this.directory,
      number,
      parent,
      state: job,
      set,
      sections: sources.map(({ name, byteLength }) => ({ name, byteLength })),
      compression:
        options.encoding.codec === 'zstd' ? { codec: 'zstd', level: options.encoding.level } : undefined,
      onPublished: async (manifest) => {
        await this.#published({ number, manifest }, options.signal)
        if (trace !== undefined) tellArchive(trace.context, this.table)
        this.#startAnew = false
        this.#capture = undefined
        ended()
        this.#tidyUp()
      },
      onDiscarded: (reason) => {
        this.#startAnew ||= isOfParent(reason)
        this.#capture = undefined
        ended()
      },
    })
    this.#capture = new Promise((resolve) => {
      ended = resolve
    })
    try {
      const snapshot = beginSnapshot({
        ...call,
        sources,
        path,
        options: {
          ...options,
          parent: parent && this.#asParent(parent),
        },
        sequel: publication,
        entry,
      })
      publication.follow(snapshot)
      if (trace !== undefined) tellFrozen(trace.context, snapshot, sources)
      return snapshot
    } catch (error) {
      void publication.discard(error)
      throw error
    }
  }

  /** Where the frames are in a store alone, one is complete when it is there. */
  async #published(entry: KnownEntry, signal: AbortSignal | undefined): Promise<void> {
    this.table.put(entry)
    this.#replica?.changed()
    if (!this.#isSpool) return
    try {
      await this.#replica?.copied(entry.manifest.id, signal)
    } catch (error) {
      this.table.remove(entry)
      throw error
    }
  }

  /** With all that it builds on, so that nobody has to look through the directory for that. */
  #asParent(entry: KnownEntry): CheckedParent {
    const { entries } = this.table.chainOf(entry)
    const [path, ...parents] = entries.map(({ number }) => pathOf(this.directory, number, 'memory'))
    return { path: path as string, id: entry.manifest.id, parents }
  }

  /** The newest frame that can be read, as far as that can be told without reading it. */
  #parentOfNext(): KnownEntry | undefined {
    if (this.#startAnew) return undefined
    const newest = this.#newestWhole()
    if (newest === undefined) return undefined
    const { entries } = this.table.chainOf(newest)
    return entries.length < this.#options.fullEvery * longestChainFactor ? newest : undefined
  }

  #newestWhole(): KnownEntry | undefined {
    return this.table
      .listed()
      .filter(isKnown)
      .findLast((entry) => {
        if (entry.damage !== undefined) return false
        const { entries, missing } = this.table.chainOf(entry)
        if (missing !== undefined || entries.some(({ number }) => this.#distrusted.has(number))) return false
        return existsSync(pathOf(this.directory, entry.number, 'memory'))
      })
  }

  /** Why each listed frame is kept. */
  async reasons(): Promise<Map<number, string[]>> {
    const { reasons, givenUp } = await judgeFrames(
      this.directory,
      this.table,
      this.#options.retention,
      this.#distrusted,
    )
    for (const { number } of givenUp) {
      reasons.set(number, [this.#inUse.has(number) ? 'in use' : 'not pruned yet'])
    }
    return reasons
  }

  /** @param rules - undefined: those of the archive. */
  async prune(rules: RetentionRules | undefined, dryRun: boolean): Promise<Pruned> {
    this.#refuseClosed()
    const wanted = rules ?? this.#options.retention
    return await this.#inTurn(() =>
      dryRun ? foreseePrune(this.directory, this.table, wanted, this.#distrusted) : this.#prune(wanted),
    )
  }

  #prune(rules: RetentionRules | undefined): Promise<Pruned> {
    return prunes.call(
      () => ({ archive: this.#label }),
      undefined,
      async (trace) => {
        try {
          const pruned = await this.#giveUp(rules)
          if (trace !== undefined) tellArchive(trace.context, this.table)
          trace?.succeeded({
            kept: pruned.kept.length,
            givenUp: pruned.givenUp.length,
            freedBytes: pruned.freedBytes,
          })
          return pruned
        } catch (error) {
          trace?.failed(error, false)
          throw error
        }
      },
    )
  }

  async #giveUp(rules: RetentionRules | undefined): Promise<Pruned> {
    const { directory, table } = this
    const { kept, givenUp, reasons } = await judgeFrames(directory, table, rules, this.#distrusted)
    const inUse = await retireFrames(directory, table, givenUp)
    this.#inUse = new Set(inUse.map(({ number }) => number))
    const gone = givenUp.filter(({ number }) => !this.#inUse.has(number))
    for (const { number } of inUse) reasons.set(number, ['in use'])
    const freed = (await removeUnknown(directory, table, gone)) + (await removeRetired(directory, table))
    return prunedOf(
      [...kept, ...inUse].sort((a, b) => a.number - b.number),
      gone,
      reasons,
      freed,
    )
  }

  /**
   * Makes a full file of the newest frame and all that it builds on.
   *
   * @returns the frame; undefined if there is none, or if it is full.
   */
  async compact(signal: AbortSignal | undefined): Promise<KnownEntry | undefined> {
    this.#refuseClosed()
    // The one that is under way is of an older frame, or does the same.
    while (this.#compacting !== undefined) await this.#compacting.done
    this.#refuseClosed()
    signal?.throwIfAborted()
    return await this.#compact(2, signal)
  }

  async #compact(fromLength: number, signal: AbortSignal | undefined): Promise<KnownEntry | undefined> {
    const newest = this.#newestWhole()
    if (newest === undefined) return undefined
    const chain = this.table.chainOf(newest).entries
    if (chain.length < fromLength) return undefined
    const controller = new AbortController()
    const forward = (): void => controller.abort(signal?.reason)
    signal?.addEventListener('abort', forward, { once: true })
    const done = compactFrame({
      directory: this.directory,
      table: this.table,
      chain,
      signal: controller.signal,
      inTurn: (step) => this.#inTurn(step),
    })
    this.#compacting = { done: done.catch(() => {}), abort: (reason) => controller.abort(reason) }
    try {
      return await done
    } catch (error) {
      // A chain that cannot be read is not worth building on.
      if (isOfParent(error)) this.#startAnew = true
      throw error
    } finally {
      signal?.removeEventListener('abort', forward)
      this.#compacting = undefined
    }
  }

  /** After each frame. What fails is told as a warning: the frame itself is safe. */
  #tidyUp(): void {
    this.giveUpByRule()
    const newest = this.#newestWhole()
    const length = newest === undefined ? 0 : this.table.chainOf(newest).entries.length
    if (length < this.#compactFrom || this.#compacting !== undefined || this.#closed !== undefined) return
    this.#compact(this.#compactFrom, undefined).then(
      () => {
        this.#compactFrom = this.#options.fullEvery
        this.#replica?.changed()
        // What the frame was made of may go now.
        if (this.#closed === undefined)
          this.#inTurn(() => removeRetired(this.directory, this.table)).catch(warn)
      },
      (error: unknown) => {
        if (this.#closed !== undefined) return
        // A disk that is full now will be full after the next frame as well.
        this.#compactFrom = length + this.#options.fullEvery
        warn(error)
      },
    )
  }

  /** Frames that no rule keeps, if there are rules, and nobody reads them. */
  giveUpByRule(): void {
    if (this.#options.retention !== undefined) this.#inTurn(() => this.#pruneByItself()).catch(warn)
  }

  async #pruneByItself(): Promise<void> {
    if (this.#closed === undefined) await this.#prune(this.#options.retention)
  }

  /** Runs one step after the other. */
  async #inTurn<Value>(step: () => Promise<Value>): Promise<Value> {
    const turn = this.#tidying.then(step)
    this.#tidying = turn.catch(() => {})
    return await turn
  }

  #refuseClosed(): void {
    if (this.#closed === undefined) return
    throw new StillframeError(
      'ERR_STILLFRAME_CLOSED',
      `${this.#label}: the archive is closed. Open it again`,
      {
        path: this.directory,
      },
    )
  }

  /** Waits for the capture that runs, ends the compaction, and gives the lock free. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    this.#compacting?.abort(
      new StillframeError('ERR_STILLFRAME_CLOSED', `${this.#label}: the archive was closed`),
    )
    await this.#capture
    await this.#compacting?.done
    await this.#replica?.close()
    await this.#tidying
    await this.#lock.close()
  }
}

/** What a frame builds on is missing or damaged. */
function isOfParent(error: unknown): boolean {
  const code = codeOf(error)
  return (
    code === 'ERR_STILLFRAME_PARENT' || code === 'ERR_STILLFRAME_CORRUPT' || code === 'ERR_STILLFRAME_FORMAT'
  )
}
