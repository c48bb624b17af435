/**
 * Restores a frame from a directory: chooses it, holds its files, and falls back on an older frame
 * if it is damaged.
 */

import type { FileHandle } from 'node:fs/promises'
import { StillframeError } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { isAnonymous, whenReleased } from '../region/region.js'
import { type Restored, type RestoreOptions, restore } from '../restore/restore.js'
import { valuesIn } from '../values/values.js'
import { type Frame, toFrame } from './frame.js'
import { type Entry, type FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { type Lease, takeLease } from './lease.js'
import { readTable } from './listing.js'
import { pathOf } from './names.js'
import { checksumOfFile } from './publication.js'

/** Options of `archive.restore()`, and all options of `restore()` except `parents`. */
export interface ArchiveRestoreOptions extends Omit<RestoreOptions, 'parents'> {
  /**
   * Restores the newest frame at or before this time, never a later one. `'latest'` (default): the
   * newest frame of all.
   */
  at?: Date | 'latest' | undefined
  /** Restores the frame with this id. Cannot be combined with `at`. */
  id?: string | undefined
  /**
   * `'older'` (default): if the frame is damaged, restores the next older one and lists the damaged
   * frame in `skipped`. `'throw'` (default with `id`): rejects.
   */
  onDamage?: 'older' | 'throw' | undefined
}

/** A frame that was skipped because it is damaged. */
export interface SkippedFrame {
  number: number
  /** Absent if the frame is too damaged to be described. */
  frame?: Frame
  /** Error code. */
  code: string
  reason: string
}

/** Result of `archive.restore()`. */
export type ArchiveRestored<Meta = JsonValue> = Restored<Meta> & {
  /** The frame that was restored. */
  readonly frame: Frame
  /** Frames that were preferred but are damaged, newest first. */
  readonly skipped: readonly SkippedFrame[]
  /**
   * The JavaScript objects of the frame, as `readValues()` returns them; none if the frame has no
   * state. Can be called repeatedly until `close()`. `Value` is not checked at run time.
   */
  state<Value = unknown>(): AsyncGenerator<Value, void, undefined>
}

/** The requested frame, with checked values. */
export type RestoreWish = { readonly latest: true } | { readonly atMs: number } | { readonly id: string }

export interface RestoreRequest {
  readonly directory: string
  readonly wish: RestoreWish
  readonly onDamage: 'older' | 'throw'
  readonly options: RestoreOptions
  /** Called for each frame that turns out to be damaged. */
  onDamaged(number: number): void
}

/** Limit on plans: the frame may be pruned or compacted between a plan and its execution. */
const maxPlans = 100

export async function restoreFrame<Meta>(request: RestoreRequest): Promise<ArchiveRestored<Meta>> {
  const skipped: SkippedFrame[] = []
  const passed = new Set<number>()
  for (let plans = 1; ; plans++) {
    const table = await readTable(request.directory)
    const entry = candidates(table, request.wish).find(({ number }) => !passed.has(number))
    if (entry === undefined) {
      // A service may start afresh if there are no frames, but not if none can be read.
      throw table.listed().length === 0 ? nothingYet(request) : nothingThere(request, skipped)
    }
    const outcome = await tryFrame<Meta>(request, table, entry, plans === maxPlans)
    if (outcome === 'changed') continue
    if ('restored' in outcome) return finish(request.directory, outcome, skipped)
    // Errors that do not concern the frame have already been thrown.
    const { damage } = outcome
    request.onDamaged(entry.number)
    if (request.onDamage === 'throw') throw damage
    passed.add(entry.number)
    skipped.push(toSkipped(entry, damage))
  }
}

/** Describes a frame that is skipped because it is damaged. */
export function toSkipped(
  entry: Entry,
  { code, message }: StillframeError,
  place?: Frame['places'][number],
): SkippedFrame {
  const { number } = entry
  return { number, ...(isKnown(entry) && { frame: toFrame(entry, [], place) }), code, reason: message }
}

/**
 * All frames that match, best first. A frame whose time is unknown counts as old as the one before
 * it.
 */
export function candidates(table: FrameTable, wish: RestoreWish): Entry[] {
  let before = Number.NEGATIVE_INFINITY
  const dated = table.listed().map((entry) => {
    before = entry.manifest?.frozenAtMs ?? before
    return { entry, at: before }
  })
  if ('id' in wish) {
    const found = table.byId(wish.id)
    const listed = dated.map(({ entry }) => entry)
    return found === undefined || !listed.includes(found)
      ? []
      : listed.slice(0, listed.indexOf(found) + 1).reverse()
  }
  if ('latest' in wish) return dated.map(({ entry }) => entry).reverse()
  return dated
    .filter(({ at }) => at <= wish.atMs)
    .sort((a, b) => b.at - a.at || b.entry.number - a.entry.number)
    .map(({ entry }) => entry)
}

interface Found<Meta> {
  readonly restored: Restored<Meta>
  readonly entry: KnownEntry
  readonly lease: Lease
  /** The file with the JavaScript objects; undefined if the frame has none. */
  readonly state: FileHandle | undefined
}

type Outcome<Meta> = Found<Meta> | { readonly damage: StillframeError } | 'changed'

async function tryFrame<Meta>(
  { directory, options }: RestoreRequest,
  table: FrameTable,
  entry: Entry,
  isLastTry: boolean,
): Promise<Outcome<Meta>> {
  const path = pathOf(directory, entry.number, 'memory')
  if (entry.damage !== undefined || !isKnown(entry)) return { damage: damaged(path, entry.damage ?? '') }
  const { entries } = table.chainOf(entry)
  const paths = entries.map(({ number }) => pathOf(directory, number, 'memory'))
  const hasState = entry.manifest.state !== undefined
  const statePath = pathOf(directory, entry.number, 'state')
  const lease = await takeLease(hasState ? [...paths, statePath] : paths)
  if ('lost' in lease) {
    if (!isLastTry && (await hasChanged(directory, table, entries))) return 'changed'
    return { damage: damaged(lease.lost, 'the file is missing') }
  }
  try {
    const state = hasState ? lease.file(paths.length) : undefined
    if (state !== undefined && options.verify !== false) await checkState(entry, statePath, state)
    const restored = await restore<Meta>(path, { ...options, parents: [...paths, directory] })
    return { restored, entry, lease, state }
  } catch (error) {
    await lease.release()
    if (isDamage(error)) return { damage: error }
    throw error
  }
}

/**
 * True if a manifest of the chain has changed since the plan was made. A frame that was pruned
 * meanwhile is not damaged.
 */
async function hasChanged(
  directory: string,
  table: FrameTable,
  chain: readonly KnownEntry[],
): Promise<boolean> {
  const now = await readTable(directory)
  return chain.some(({ number }) => {
    return JSON.stringify(now.get(number)?.manifest) !== JSON.stringify(table.get(number)?.manifest)
  })
}

/** @throws StillframeError `ERR_STILLFRAME_CORRUPT`. */
export async function checkState(entry: KnownEntry, path: string, file: FileHandle): Promise<void> {
  const { fileSize, crc32 } = entry.manifest.state ?? {}
  const { size } = await file.stat()
  if (size !== fileSize) throw damaged(path, `it has ${size} bytes instead of ${fileSize}`)
  if ((await checksumOfFile(path, file.fd)) !== crc32) throw damaged(path, 'its checksum is wrong')
}

function damaged(path: string, what: string): StillframeError {
  return new StillframeError('ERR_STILLFRAME_CORRUPT', `${path}: ${what}`, { path })
}

const codesOfDamage = new Set(['ERR_STILLFRAME_CORRUPT', 'ERR_STILLFRAME_FORMAT', 'ERR_STILLFRAME_PARENT'])
/** An unreadable disk counts as damage, too. */
const errnosOfDamage = new Set(['EIO', 'ENOENT'])

/** True if the error means that the frame is damaged. */
export function isDamage(error: unknown): error is StillframeError {
  if (!(error instanceof StillframeError)) return false
  if (codesOfDamage.has(error.code)) return true
  return error.code === 'ERR_STILLFRAME_IO' && errnosOfDamage.has(error.errnoName ?? '')
}

export function nothingYet({ directory }: RestoreRequest): StillframeError {
  return new StillframeError('ERR_STILLFRAME_NOT_FOUND', `${directory}: there are no frames yet`, {
    path: directory,
  })
}

export function nothingThere(
  { directory, wish }: RestoreRequest,
  skipped: readonly SkippedFrame[],
): StillframeError {
  if ('id' in wish && skipped.length === 0) {
    return new StillframeError('ERR_STILLFRAME_NOT_FOUND', `${directory}: there is no frame ${wish.id}`, {
      path: directory,
    })
  }
  const when = 'atMs' in wish ? ` at or before ${new Date(wish.atMs).toISOString()}` : ''
  const reasons = skipped.map(({ number, reason }) => `\n  frame ${number}: ${reason}`).join('')
  const but = reasons === '' ? '' : `. These frames are damaged:${reasons}`
  return new StillframeError('ERR_STILLFRAME_GAP', `${directory}: there is no intact frame${when}${but}`, {
    path: directory,
  })
}

/**
 * @internal Releases resources of restored frames that were never closed, once they are collected.
 */
export const forgotten = new FinalizationRegistry<() => void>((release) => release())

/**
 * Releases a lease when all shares in it have been released.
 *
 * @returns one function per share, which releases it and may be called again. The functions refer
 *   only to the lease, so that their holders can be collected.
 */
function shareLease(lease: Lease, count: number): (() => void)[] {
  let left = count
  return Array.from({ length: count }, () => {
    let given = false
    return () => {
      if (given) return
      given = true
      left--
      if (left === 0) void lease.release()
    }
  })
}

/** Holds the files for as long as memory is mapped from them or objects may be read from them. */
function finish<Meta>(
  directory: string,
  { restored, entry, lease, state }: Found<Meta>,
  skipped: readonly SkippedFrame[],
): ArchiveRestored<Meta> {
  const mapped = Object.values(restored.regions).filter((region) => !isAnonymous(region))
  const [letGo, ...ofRegions] = shareLease(lease, mapped.length + 1) as [() => void, ...(() => void)[]]
  mapped.forEach((region, index) => {
    whenReleased(region, ofRegions[index] as () => void)
  })
  const close = restored.close.bind(restored)
  const statePath = pathOf(directory, entry.number, 'state')
  const result = Object.assign(restored, {
    frame: toFrame(entry, []),
    skipped,
    async *state<Value>(): AsyncGenerator<Value, void, undefined> {
      // The reference to `result` keeps it from being collected while its objects are read.
      if (state !== undefined && result !== undefined) yield* valuesIn<Value>(state, statePath)
    },
    close(): void {
      close()
      letGo()
    },
  })
  if (state === undefined) letGo()
  else forgotten.register(result, letGo)
  return result
}
