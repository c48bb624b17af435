/** Getting a frame back: choosing it, holding its files, and going on to an older one where it is damaged. */

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

/** Options of `archive.restore()`; the others are those of `restore()`. */
export interface ArchiveRestoreOptions extends Omit<RestoreOptions, 'parents'> {
  /** The newest frame at or before this time; never one after it. `'latest'` (default): the newest of all. */
  at?: Date | 'latest' | undefined
  /** The frame with this id. It takes the place of `at`. */
  id?: string | undefined
  /**
   * `'older'` (default): if the frame is damaged, the next older one is restored, and `skipped` says why. `'throw'`
   * (default with `id`): the restore rejects.
   */
  onDamage?: 'older' | 'throw' | undefined
}

/** A frame that was passed over. */
export interface SkippedFrame {
  number: number
  /** Absent if the frame is so damaged that nothing can be told of it. */
  frame?: Frame
  /** Code of the error. */
  code: string
  reason: string
}

/** What `archive.restore()` returns. */
export type ArchiveRestored<Meta = JsonValue> = Restored<Meta> & {
  /** The frame that was restored. */
  readonly frame: Frame
  /** Frames that should have been restored, and are damaged; from the newest on. */
  readonly skipped: readonly SkippedFrame[]
  /**
   * The objects of the frame, as `readValues()` gives them; none if it has no state. It can be called again, until
   * `close()`. `Value` is the caller's word: it is not checked.
   */
  state<Value = unknown>(): AsyncGenerator<Value, void, undefined>
}

/** Which frame is wanted; checked. */
export type RestoreWish = { readonly latest: true } | { readonly atMs: number } | { readonly id: string }

export interface RestoreRequest {
  readonly directory: string
  readonly wish: RestoreWish
  readonly onDamage: 'older' | 'throw'
  readonly options: RestoreOptions
  /** Is told of each frame that is found to be damaged. */
  onDamaged(number: number): void
}

/** How often it is planned anew because the frame was given up, or compacted, between the plan and its execution. */
const maxPlans = 100

export async function restoreFrame<Meta>(request: RestoreRequest): Promise<ArchiveRestored<Meta>> {
  const skipped: SkippedFrame[] = []
  const passed = new Set<number>()
  for (let plans = 1; ; plans++) {
    const table = await readTable(request.directory)
    const entry = candidates(table, request.wish).find(({ number }) => !passed.has(number))
    if (entry === undefined) {
      // A service may begin anew where there is nothing, but not where nothing can be read.
      throw table.listed().length === 0 ? nothingYet(request) : nothingThere(request, skipped)
    }
    const outcome = await tryFrame<Meta>(request, table, entry, plans === maxPlans)
    if (outcome === 'changed') continue
    if ('restored' in outcome) return finish(request.directory, outcome, skipped)
    // An error that says nothing about the frame has been thrown by now.
    const { damage } = outcome
    request.onDamaged(entry.number)
    if (request.onDamage === 'throw') throw damage
    passed.add(entry.number)
    skipped.push(toSkipped(entry, damage))
  }
}

/** A frame that is passed over for its damage. */
export function toSkipped(
  entry: Entry,
  { code, message }: StillframeError,
  place?: Frame['places'][number],
): SkippedFrame {
  const { number } = entry
  return { number, ...(isKnown(entry) && { frame: toFrame(entry, [], place) }), code, reason: message }
}

/** All that would do, the best one first. Of a frame of which nothing is known the time is that of the one before. */
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
  /** Of its objects; undefined if it has none. */
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

/** Whether what was planned with is not what is there now. A frame that was given up is not missing. */
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
/** A disk that cannot read is damage as well. */
const errnosOfDamage = new Set(['EIO', 'ENOENT'])

/** Whether the frame is to blame. */
export function isDamage(error: unknown): error is StillframeError {
  if (!(error instanceof StillframeError)) return false
  if (codesOfDamage.has(error.code)) return true
  return error.code === 'ERR_STILLFRAME_IO' && errnosOfDamage.has(error.errnoName ?? '')
}

export function nothingYet({ directory }: RestoreRequest): StillframeError {
  return new StillframeError('ERR_STILLFRAME_NOT_FOUND', `${directory}: there is no frame yet`, {
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
  const but = reasons === '' ? '' : `. These are damaged:${reasons}`
  return new StillframeError('ERR_STILLFRAME_GAP', `${directory}: there is no whole frame${when}${but}`, {
    path: directory,
  })
}

/** @internal For those who let go of what they have restored without closing it. */
export const forgotten = new FinalizationRegistry<() => void>((release) => release())

/**
 * Holds a lease until all shares in it have been given up.
 *
 * @returns gives one up; for each share. They refer to nothing but the lease, so that what holds them can be collected.
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

/** The files are held for as long as memory is mapped from them, or objects may be read from them. */
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
      // What is being read is not forgotten.
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
