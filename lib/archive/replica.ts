/**
 * Copies the frames of a directory into a store, one after the other, when they are complete. Nobody waits for it: a capture does not
 * know of it, and when the store is out of reach the copies come later. What is here no more when its turn comes is left out.
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
  /** Of the archive, for those who look on. */
  readonly name: string
  readonly table: FrameTable
  readonly store: ObjectStore
  /** Of the frames in the store. */
  readonly retention: RetentionRules | undefined
  /** Nobody holds the files of a frame any more. */
  onCopied(): void
}

/** After a failure: as long as that, twice as long, … */
const firstPauseMs = 1_000
const longestPauseMs = 60_000
const collectEveryMs = 3_600_000
/** Of opening. */
const patienceMs = 5_000

/** What does not pass by itself: it is told, and nothing more is copied. */
const final = new Set([
  'ERR_STILLFRAME_FENCED',
  'ERR_STILLFRAME_UNSUPPORTED_STORE',
  'ERR_STILLFRAME_CORRUPT',
  'ERR_STILLFRAME_VERSION',
  'ERR_STILLFRAME_KEY',
])

/** Somebody who waits for something to be so. */
interface Waiting {
  isSo(): boolean
  /** True: it is over when the next attempt fails. */
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
  /** Whoever opens it is told no more of what fails. */
  #isOpen = false
  /** Why nothing is copied any more. */
  #ended: unknown
  readonly #waiting = new Set<Waiting>()

  private constructor(request: ReplicaRequest, journal: UploadJournal) {
    this.#request = request
    this.#journal = journal
  }

  /**
   * Begins to copy. When the store cannot be reached now, that is tried again later.
   *
   * @throws StillframeError for what does not pass by itself, such as `ERR_STILLFRAME_UNSUPPORTED_STORE`.
   */
  static async open(request: ReplicaRequest): Promise<Replica> {
    const replica = new Replica(request, await UploadJournal.read(request.directory))
    replica.#work = replica.#run()
    const opened = replica.#until(() => replica.#writer !== undefined, undefined, true)
    // A service does not wait for a store that is slow to say that it cannot be reached.
    await Promise.race([opened, sleep(patienceMs, undefined, { ref: false })]).catch(() => {})
    if (isFinal(replica.#ended)) {
      await replica.close()
      throw replica.#ended
    }
    replica.#isOpen = true
    return replica
  }

  /** Frames that the store holds, as of the last commit that is known of. */
  get frames(): readonly RemoteFrame[] {
    return this.#writer?.frames ?? []
  }

  /** Something has changed in the directory. */
  changed(): void {
    this.#tellLag()
    this.#wake()
  }

  get lag(): StoreLag {
    return lagOf(this.#request.table, this.frames)
  }

  /**
   * Resolves when this frame is there, and rejects when it could not be brought there.
   *
   * @param id - of a frame in the directory.
   */
  async copied(id: string, signal: AbortSignal | undefined): Promise<void> {
    await this.#until(() => this.frames.some((frame) => frame.id === id), signal, true)
  }

  /** Gives up frames there. */
  async prune(rules: RetentionRules | undefined): Promise<void> {
    const writer = await this.#open()
    const protection = await this.#protection(writer, [])
    await writer.commit((frames) => withoutGivenUp(frames, rules, protection))
  }

  /** Resolves when all that is complete now, or later ones, are there. */
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

  /** Those whose wish has come true; after a failure also those who do not wait for better times. */
  #tellWaiting(failure?: { readonly error: unknown; readonly isFinal: boolean }): void {
    for (const waiting of this.#waiting) {
      const { isSo, failing, resolve, reject } = waiting
      if (isSo()) resolve()
      else if (failure !== undefined && (failing || failure.isFinal)) reject(failure.error)
      else continue
      this.#waiting.delete(waiting)
    }
  }

  /** Ends what is under way; it goes on when the archive is opened again. */
  async close(): Promise<void> {
    const closed = new StillframeError(
      'ERR_STILLFRAME_CLOSED',
      `${this.#request.name}: the archive was closed before all frames were in the store. The others are copied when it is open again`,
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
        // Once for each time that it fails for a while.
        if (failures === 0) this.#warn(error)
        await this.#pause(failures++, woken)
      }
    }
  }

  /** Why frames may not be given up, those that are about to be there among them. */
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

  /** Shorter if there is something new. */
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
    // It was given up, or compacted, since it was chosen: the next look shows.
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
    warn(error, `${this.#request.name}: frames are not copied to the store`)
  }

  #end(reason: unknown): void {
    this.#ended ??= reason
    this.#tellWaiting({ error: reason, isFinal: true })
  }
}

/** Of a frame that others build on only the memory is needed. */
function withoutState({ manifest: { state: _, ...rest } }: KnownEntry): KnownEntry['manifest'] {
  return rest
}

function isFinal(error: unknown): boolean {
  return final.has(String(codeOf(error)))
}
