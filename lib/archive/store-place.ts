/**
 * Reads an archive in a store: lists its frames and restores them. Where a restore needs files,
 * they are fetched into a temporary directory and restored from there. They are checked twice:
 * against the checksums of the upload, and as snapshot files.
 */

import { codeOf, StillframeError } from '../base/errors.js'
import { replaceFile } from '../files/durable-file.js'
import type { ObjectStore } from '../store/store.js'
import { type Frame, toFrame } from './frame.js'
import { type FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { encodeManifest, type Manifest } from './manifest.js'
import { pathOf, storeName } from './names.js'
import {
  downloadFile,
  type Lease,
  openForReading,
  type RemoteFrame,
  type RemoteReader,
  type StoredPart,
} from './remote/index.js'
import { objectsOf, reasonsThere, tableOf } from './replica-plan.js'
import {
  type ArchiveRestored,
  candidates,
  isDamage,
  nothingThere,
  nothingYet,
  type RestoreRequest,
  restoreFrame,
  type SkippedFrame,
  toSkipped,
} from './restore.js'
import { needsNoFiles, restoreStoredFrame } from './restore-from-store.js'
import type { RetentionRules } from './retention.js'
import { protectionIn } from './set-pins.js'
import { makeSpool } from './spool.js'
import { type StoreVerifyRequest, verifyStore } from './store-verify.js'
import type { FrameReport } from './verify.js'

export class StorePlace {
  readonly #store: ObjectStore
  /** Where files are fetched to. */
  readonly #spool: string
  #reader: RemoteReader | undefined

  constructor(store: ObjectStore, spool: string) {
    this.#store = store
    this.#spool = spool
  }

  /**
   * The current contents. @throws StillframeError `ERR_STILLFRAME_NOT_FOUND` if there is no
   * archive.
   */
  async table(): Promise<FrameTable> {
    return tableOf((await this.#refreshed()).frames)
  }

  /** Listed frames, in order of number. `keptBecause` is empty if nothing keeps a frame. */
  async frames(rules: RetentionRules | undefined): Promise<Frame[]> {
    const table = await this.table()
    const frames = table.all().map(({ manifest }) => manifest as RemoteFrame)
    const reasons = reasonsThere(table, rules, await protectionIn(this.#store, frames))
    return table
      .listed()
      .filter(isKnown)
      .map((entry) => toFrame(entry, reasons.get(entry.number) ?? [], 'store'))
  }

  async #refreshed(): Promise<RemoteReader> {
    if (this.#reader === undefined) this.#reader = await openForReading(this.#store)
    else await this.#reader.refresh()
    return this.#reader
  }

  /**
   * Takes a lease on the newest version. Returns undefined if this process is not allowed to put
   * one. Frames that are read then stay only for the grace period of the writer after they are
   * pruned.
   */
  async #lease(): Promise<Lease | undefined> {
    this.#reader ??= await openForReading(this.#store)
    return await this.#reader.lease().catch((error: unknown) => {
      if (codeOf(error) === 'ERR_STILLFRAME_IO') return undefined
      throw error
    })
  }

  async verify(request: StoreVerifyRequest): Promise<FrameReport[]> {
    const lease = await this.#lease()
    try {
      const table = lease === undefined ? await this.table() : tableOf(lease.frames)
      return await verifyStore(this.#store, table, {
        ...request,
        signal: eitherOf(request.signal, lease?.signal),
      })
    } finally {
      await lease?.release().catch(() => {})
    }
  }

  async restore<Meta>(
    request: Omit<RestoreRequest, 'directory' | 'onDamaged'>,
  ): Promise<ArchiveRestored<Meta>> {
    const place = { ...request, directory: storeName, onDamaged: () => {} }
    const lease = await this.#lease()
    let isLent = false
    try {
      const table = lease === undefined ? await this.table() : tableOf(lease.frames)
      const skipped: SkippedFrame[] = []
      for (const entry of candidates(table, request.wish)) {
        try {
          const restored = await this.#restoreOne<Meta>(request, table, entry as KnownEntry, lease)
          isLent = needsNoFiles(request.options)
          return Object.assign(restored, { skipped, frame: toFrame(entry as KnownEntry, [], 'store') })
        } catch (error) {
          if (!isDamage(error) || request.onDamage === 'throw') throw error
          skipped.push(toSkipped(entry, error, 'store'))
        }
      }
      throw table.listed().length === 0 ? nothingYet(place) : nothingThere(place, skipped)
    } finally {
      if (!isLent) await lease?.release().catch(() => {})
    }
  }

  async #restoreOne<Meta>(
    { options, ...request }: Omit<RestoreRequest, 'directory' | 'onDamaged'>,
    table: FrameTable,
    entry: KnownEntry,
    lease: Lease | undefined,
  ): Promise<ArchiveRestored<Meta>> {
    const { entries, missing } = table.chainOf(entry)
    if (missing !== undefined) {
      throw new StillframeError(
        'ERR_STILLFRAME_PARENT',
        `Frame ${entry.number} of ${storeName} builds on frame ${missing}, which is missing`,
      )
    }
    if (needsNoFiles(options)) {
      const frame = { store: this.#store, spool: this.#spool, entry, chain: entries, options, lease }
      return (await restoreStoredFrame<Meta>(frame)) as ArchiveRestored<Meta>
    }
    const spool = await makeSpool(this.#spool)
    const { directory } = spool
    try {
      const signal = eitherOf(options.signal, lease?.signal)
      for (const one of entries) await this.#fetch(directory, one, one === entry, signal)
      return await restoreFrame<Meta>({
        ...request,
        options,
        directory,
        wish: { id: entry.manifest.id },
        onDamage: 'throw',
        onDamaged: () => {},
      })
    } finally {
      // Mapped or open files live on without their names.
      await spool.remove()
    }
  }

  async #fetch(
    directory: string,
    entry: KnownEntry,
    withState: boolean,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const { memory, state } = objectsOf(entry)
    const { number } = entry
    const file = async (path: string, parts: readonly StoredPart[]): Promise<void> => {
      await downloadFile(path, { store: this.#store, parts, signal })
    }
    await file(pathOf(directory, number, 'memory'), memory)
    if (withState && state !== undefined) await file(pathOf(directory, number, 'state'), state)
    await replaceFile(pathOf(directory, number, 'manifest'), encodeManifest(localOf(entry, withState)))
  }
}

function eitherOf(...signals: (AbortSignal | undefined)[]): AbortSignal | undefined {
  const given = signals.filter((signal) => signal !== undefined)
  return given.length === 0 ? undefined : AbortSignal.any(given)
}

/** The manifest as it was in the original directory. */
function localOf({ manifest }: KnownEntry, withState: boolean): Manifest {
  const { objects: _, retiredAtMs: __, state, ...rest } = manifest as RemoteFrame
  return withState && state !== undefined ? { ...rest, state } : rest
}
