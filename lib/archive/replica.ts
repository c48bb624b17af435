/**
 * Copies frames from a directory to a store, one after the other, as they complete. Captures
 * neither know of it nor wait for it. If the store cannot be reached, the copies are made later. A
 * frame that is no longer in the directory when its turn comes is skipped.
 */

import type { FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { codeOf, StillframeError } from '../base/errors.js'
import type { ObjectStore } from '../store/store.js'
import type { FrameTable, KnownEntry } from './frame-table.js'
import { takeLease } from './lease.js'
import { pathOf } from './names.js'
import {
  type FrameObjects,
  fileSource,
  openForWriting,
  type RemoteFile,
  type RemoteFrame,
  type RemoteWriter,
  type StoredPart,
  uploadParts,
} from './remote/index.js'
import {
  chainToCopy,
  framesToCopy,
  frameToReplace,
  lagOf,
  type StoreLag,
  type Uploaded,
  withoutGivenUp,
  withUploaded,
} from './replica-plan.js'
import type { RetentionRules } from './retention.js'
import { type Protection, protectionIn } from './set-pins.js'
import { tellLag, uploads } from './trace.js'
import { UploadJournal } from './upload-journal.js'
import { warn } from './warning.js'

export interface ReplicaRequest {
  readonly directory: string
  /** Name of the archive for messages and traces. */
  readonly name: string
  readonly table: FrameTable
  readonly store: ObjectStore
  /** Rules for the frames in the store. */
  readonly retention: RetentionRules | undefined
  /** Called when a frame has been copied and its files are no longer held. */
  onCopied(): void
}

/** Pause after a failure; it doubles with each further failure. */
const firstPauseMs = 1_000
const longestPauseMs = 60_000
const collectEveryMs = 3_600_000
/** How long opening waits for the store. */
const patienceMs = 5_000

/** Errors that do not go away by themselves. They are reported, and copying ends. */
const final = new Set([
  'ERR_STILLFRAME_FENCED',
  'ERR_STILLFRAME_UNSUPPORTED_STORE',
  'ERR_STILLFRAME_CORRUPT',
  'ERR_STILLFRAME_VERSION',
  'ERR_STILLFRAME_KEY',
])

/** A caller that waits for a condition. */
interface Waiting {
  isSo(): boolean
  /** True if the wait also ends when the next attempt fails. */
  readonly failing: boolean
  resolve(): void
  reject(reason: unknown): void
}

export class Replica {
  readonly #request: ReplicaRequest
  readonly #journal: UploadJournal
  readonly #closing = new AbortController()
  #writer: RemoteWriter | undefined
  #nextCollectMs = 0
  #wake: () => void = () => {}
  #work: Promise<void> = Promise.resolve()
  /**
   * Set once `open()` has succeeded: it can no longer throw final errors, so they become warnings.
   */
  #isOpen = false
  /** Why copying has ended; undefined while it goes on. */
  #ended: unknown
  readonly #waiting = new Set<Waiting>()

  private constructor(request: ReplicaRequest, journal: UploadJournal) {
    this.#request = request
    this.#journal = journal
  }

  /**
   * Starts copying. If the store cannot be reached now, it is tried again later.
   *
   * @throws StillframeError for errors that do not go away by themselves, such as
   *   `ERR_STILLFRAME_UNSUPPORTED_STORE`.
   */
  static async open(request: ReplicaRequest): Promise<Replica> {
    const replica = new Replica(request, await UploadJournal.read(request.directory))
    replica.#work = replica.#run()
    const opened = replica.#until(() => replica.#writer !== undefined, undefined, true)
    // A service should not wait for a store that is slow to report that it cannot be reached.
    await Promise.race([opened, sleep(patienceMs, undefined, { ref: false })]).catch(() => {})
    if (isFinal(replica.#ended)) {
      await replica.close()
      throw replica.#ended
    }
    replica.#isOpen = true
    return replica
  }

  /** Frames in the store, as of the last known commit. */
  get frames(): readonly RemoteFrame[] {
    return this.#writer?.frames ?? []
  }

  /** To be called when the frames of the directory have changed. */
  changed(): void {
    this.#tellLag()
    this.#wake()
  }

  get lag(): StoreLag {
    return lagOf(this.#request.table, this.frames)
  }

  /**
   * Resolves when the frame is in the store, and rejects when the next attempt fails.
   *
   * @param id - id of a frame in the directory.
   */
  async copied(id: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#until(() => this.frames.some((frame) => frame.id === id), signal, true)
  }

  /** Prunes frames in the store. */
  async prune(rules: RetentionRules | undefined): Promise<void> {
    const writer = await this.#open()
    const protection = await this.#protection(writer, [])
    await writer.commit((frames) => withoutGivenUp(frames, rules, protection))
  }

  /** Resolves when nothing is left to copy, including frames that complete during the wait. */
  async settled(signal: AbortSignal | undefined): Promise<void> {
    await this.#until(() => this.#writer !== undefined && this.#next() === undefined, signal, false)
  }

  async #until(isSo: () => boolean, signal: AbortSignal | undefined, failing: boolean): Promise<void> {
    signal?.throwIfAborted()
    if (isSo()) return
    if (this.#ended !== undefined) throw this.#ended
    await new Promise<void>((resolve, reject) => {
      const waiting = { isSo, failing, resolve, reject }
      this.#waiting.add(waiting)
      signal?.addEventListener('abort', () => this.#waiting.delete(waiting) && reject(signal.reason), {
        once: true,
      })
      this.#wake()
    })
  }

  /** Settles the waits whose condition holds; after a failure, also rejects those that it ends. */
  #tellWaiting(failure?: { readonly error: unknown; readonly isFinal: boolean }): void {
    for (const waiting of this.#waiting) {
      const { isSo, failing, resolve, reject } = waiting
      if (isSo()) resolve()
      else if (failure !== undefined && (failing || failure.isFinal)) reject(failure.error)
      else continue
      this.#waiting.delete(waiting)
    }
  }

  /** Aborts the copy in progress, which continues when the archive is opened again. */
  async close(): Promise<void> {
    const closed = new StillframeError(
      'ERR_STILLFRAME_CLOSED',
      `${this.#request.name}: the archive was closed before all frames were in the store. The remaining ` +
        'frames will be copied when it is open again',
    )
    this.#closing.abort(closed)
    this.#wake()
    await this.#work
    this.#end(closed)
    await this.#writer?.close().catch(() => {})
  }

  async #open(): Promise<RemoteWriter> {
    this.#writer ??= await openForWriting(this.#request.store)
    this.#tellLag()
    return this.#writer
  }

  async #run(): Promise<void> {
    const { signal } = this.#closing
    let failures = 0
    while (!signal.aborted) {
      const woken = new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      try {
        const writer = await this.#open()
        this.#tellWaiting()
        const next = this.#next()
        if (next === undefined) await this.#rest(writer, woken)
        else await this.#copy(writer, next)
        this.#tellWaiting()
        failures = 0
      } catch (error) {
        if (signal.aborted) return
        this.#tellLag()
        if (isFinal(error)) {
          this.#end(error)
          if (this.#isOpen) this.#warn(error)
          return
        }
        this.#tellWaiting({ error, isFinal: false })
        // Warn only about the first of several failures in a row.
        if (failures === 0) this.#warn(error)
        await this.#pause(failures++, woken)
      }
    }
  }

  /** Protection of frames from pruning, including frames that are about to be committed. */
  async #protection(writer: RemoteWriter, uploaded: readonly Uploaded[]): Promise<Protection> {
    const added = uploaded.map(({ manifest, objects }) => ({ ...manifest, objects }))
    return await protectionIn(this.#request.store, [...writer.frames, ...added])
  }

  #next(): KnownEntry | undefined {
    const { table } = this.#request
    return framesToCopy(table, this.frames)[0] ?? frameToReplace(table, this.frames)
  }

  async #rest(writer: RemoteWriter, woken: Promise<void>): Promise<void> {
    this.#tellWaiting()
    if (Date.now() >= this.#nextCollectMs) {
      this.#nextCollectMs = Date.now() + collectEveryMs
      await writer.collect()
    }
    await woken
  }

  /** Ends early if the directory changes. */
  async #pause(failures: number, woken: Promise<void>): Promise<void> {
    const longest = Math.min(longestPauseMs, firstPauseMs * 2 ** failures)
    const over = new AbortController()
    const pause = sleep(longest * (0.5 + Math.random() / 2), undefined, { ref: false, signal: over.signal })
    await Promise.race([pause.catch(() => {}), woken])
    over.abort()
  }

  async #copy(writer: RemoteWriter, entry: KnownEntry): Promise<void> {
    const { directory, name, table, retention } = this.#request
    const chain = chainToCopy(table, entry, writer.frames)
    const hasState = entry.manifest.state !== undefined
    const paths = chain.map(({ number }) => pathOf(directory, number, 'memory'))
    const lease = await takeLease(hasState ? [...paths, pathOf(directory, entry.number, 'state')] : paths)
    // The frame was pruned or compacted since it was chosen. The next iteration chooses again.
    if ('lost' in lease) {
      await sleep(10, undefined, { ref: false })
      return
    }
    try {
      await uploads.promise(
        () => ({ archive: name, number: entry.number, id: entry.manifest.id }),
        this.#closing.signal,
        async () => {
          const uploaded: Uploaded[] = []
          const ends: (() => void)[] = []
          let bytes = 0
          try {
            for (const [index, one] of chain.entries()) {
              const { id } = one.manifest
              const upload = await writer.beginUpload(id, this.#journal.partsOf(id))
              ends.push(() => upload.end())
              const send = (file: RemoteFile, handle: FileHandle): Promise<StoredPart[]> =>
                this.#send(one, file, handle, upload.present)
              const memory = await send('memory', lease.file(index))
              const withState = one === entry && hasState
              const state = withState ? await send('state', lease.file(chain.length)) : undefined
              const objects: FrameObjects = { memory, ...(state && { state }) }
              uploaded.push({ manifest: withState ? one.manifest : withoutState(one), objects })
              for (const { size } of [...memory, ...(state ?? [])]) bytes += size
            }
            const protection = await this.#protection(writer, uploaded)
            await writer.commit((frames) =>
              withoutGivenUp(withUploaded(frames, uploaded), retention, protection),
            )
          } finally {
            for (const end of ends) end()
          }
          await this.#journal.clear().catch(() => {})
          return { bytes, version: writer.version }
        },
      )
    } finally {
      await lease.release()
    }
    this.#request.onCopied()
    this.#tellLag()
  }

  async #send(
    { manifest, number }: KnownEntry,
    file: RemoteFile,
    handle: FileHandle,
    present: readonly StoredPart[],
  ): Promise<StoredPart[]> {
    const { directory, store } = this.#request
    return await uploadParts({
      store,
      frameId: manifest.id,
      file,
      source: await fileSource(handle, pathOf(directory, number, file)),
      present,
      onPart: (part) => this.#journal.add(manifest.id, part),
      signal: this.#closing.signal,
    })
  }

  #tellLag(): void {
    tellLag(this.#request.name, () => this.lag)
  }

  #warn(error: unknown): void {
    warn(error, `${this.#request.name}: frames are not being copied to the store`)
  }

  #end(reason: unknown): void {
    this.#ended ??= reason
    this.#tellWaiting({ error: reason, isFinal: true })
  }
}

/** Of a parent, only the memory is needed. */
function withoutState({ manifest: { state: _, ...rest } }: KnownEntry): KnownEntry['manifest'] {
  return rest
}

function isFinal(error: unknown): boolean {
  return final.has(String(codeOf(error)))
}
