/**
 * The writer of an archive. It captures frames, prunes old ones, and compacts chains that have
 * grown long. Its table always has all frames, since nothing else changes the archive.
 *
 * Only one capture runs at a time. Work on older frames (`#inTurn`) is serialized and runs
 * alongside captures. A compaction reads and writes alongside both, and takes a turn only to put
 * its file in place.
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
  /** True to capture a full frame. */
  readonly full: boolean
  /** The set that the frame is to belong to. */
  readonly set: string | undefined
  /** The exported method that was called. */
  readonly entry: (...args: never[]) => unknown
}

/**
 * A chain may grow to this multiple of `fullEvery`; then the next frame has to be a full one. If
 * frames come faster than they are compacted, the chain would otherwise grow forever.
 */
const longestChainFactor = 4

const spoolRetention = { last: 1 }

export class ArchiveWriter {
  readonly directory: string
  readonly table: FrameTable
  readonly #options: CheckedArchiveOptions
  readonly #lock: FileHandle
  #nextNumber: number
  /** Resolves when the capture in progress has ended, including its state file and publication. */
  #capture: Promise<void> | undefined
  /** Frames that turned out to be unreadable. */
  readonly #distrusted = new Set<number>()
  /** Frames that were being read when they were to be pruned. */
  #inUse = new Set<number>()
  /** True if the next frame must be a full one, because its parent turned out to be unusable. */
  #startAnew = false
  #tidying: Promise<unknown> = Promise.resolve()
  #compacting: { readonly done: Promise<unknown>; abort(reason: unknown): void } | undefined
  /** Chain length from which an automatic compaction starts. */
  #compactFrom: number
  #closed: Promise<void> | undefined
  /** Copies the frames to a store. */
  readonly #replica: Replica | undefined
  /** True if the directory only holds frames in transit to the store. */
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
    // A directory that was created anew continues with the numbers after those in the store.
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
    // A spool keeps the files of the newest frame, on which the next one builds.
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

  /** Undefined without a store. */
  get replica(): Replica | undefined {
    return this.#replica
  }

  /**
   * Records that a frame cannot be read, so that nothing builds on it. The damage may be in a file
   * further down the chain, on which other frames build as well. So the next frame is a full one.
   */
  distrust(number: number): void {
    this.#distrusted.add(number)
    this.#startAnew = true
  }

  /**
   * Makes the next frame a full one, because the copies of its parents in the store are unreliable.
   */
  startAnew(): void {
    this.#startAnew = true
  }

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

  /** How messages and traces refer to the archive. */
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
    // Fork first: this step may be refused, and nothing is frozen yet. No JavaScript runs between
    // the fork and the freeze.
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

  /** If the archive is in a store alone, a frame is complete only once it is in the store. */
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

  /** Passes the paths of the whole chain, which saves a search through the directory. */
  #asParent(entry: KnownEntry): CheckedParent {
    const { entries } = this.table.chainOf(entry)
    const [path, ...parents] = entries.map(({ number }) => pathOf(this.directory, number, 'memory'))
    return { path: path as string, id: entry.manifest.id, parents }
  }

  /** The newest frame that is readable, as far as can be told without reading it. */
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

  /** Why each listed frame is kept, by number. */
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

  /** @param rules - undefined for the rules of the archive. */
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
   * Compacts the newest frame.
   *
   * @returns the frame; undefined if there is none, or if it is full already.
   */
  async compact(signal: AbortSignal | undefined): Promise<KnownEntry | undefined> {
    this.#refuseClosed()
    // A compaction in progress is of an older frame, or does the same work.
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
      // Do not build on a chain that cannot be read.
      if (isOfParent(error)) this.#startAnew = true
      throw error
    } finally {
      signal?.removeEventListener('abort', forward)
      this.#compacting = undefined
    }
  }

  /** Runs after each frame. Failures are only warnings, since the frame itself is safe. */
  #tidyUp(): void {
    this.giveUpByRule()
    const newest = this.#newestWhole()
    const length = newest === undefined ? 0 : this.table.chainOf(newest).entries.length
    if (length < this.#compactFrom || this.#compacting !== undefined || this.#closed !== undefined) return
    this.#compact(this.#compactFrom, undefined).then(
      () => {
        this.#compactFrom = this.#options.fullEvery
        this.#replica?.changed()
        // The former parents of the frame can go now.
        if (this.#closed === undefined)
          this.#inTurn(() => removeRetired(this.directory, this.table)).catch(warn)
      },
      (error: unknown) => {
        if (this.#closed !== undefined) return
        // If the disk is full now, it will still be full after the next frame.
        this.#compactFrom = length + this.#options.fullEvery
        warn(error)
      },
    )
  }

  /**
   * Prunes by the retention rules of the archive, if it has any. Frames that are being read stay.
   */
  giveUpByRule(): void {
    if (this.#options.retention !== undefined) this.#inTurn(() => this.#pruneByItself()).catch(warn)
  }

  async #pruneByItself(): Promise<void> {
    if (this.#closed === undefined) await this.#prune(this.#options.retention)
  }

  /** Runs steps one at a time, in the order of the calls. */
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

  /** Waits for the capture in progress, aborts the compaction, and releases the lock. */
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

/** True if a parent of the frame is missing or damaged. */
function isOfParent(error: unknown): boolean {
  const code = codeOf(error)
  return (
    code === 'ERR_STILLFRAME_PARENT' || code === 'ERR_STILLFRAME_CORRUPT' || code === 'ERR_STILLFRAME_FORMAT'
  )
}
