/**
 * Sets: frames of several processes that belong to one instant and are committed together or not at
 * all. Each process is a shard with an archive of its own. The object `set/<name>` names one frame
 * of each shard; its existence is the commit.
 */

import { Buffer } from 'node:buffer'
import { tmpdir } from 'node:os'
import { isDeepStrictEqual } from 'node:util'
import { codeOf, invalidArgType, invalidArgValue, messageOf, StillframeError } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { checkDirectory } from '../base/path.js'
import { checkOptions, optionalInteger } from '../base/validate.js'
import { type RestoreOptions, restoreOptionNames } from '../restore/restore.js'
import { checkEncryption, type EncryptionOptions } from '../store/encryption.js'
import { PrefixedStore } from '../store/prefixed-store.js'
import { SealedStore } from '../store/sealed-store.js'
import { checkStore, type ObjectStore } from '../store/store.js'
import { encodeChecked } from './checked-json.js'
import { openForReading } from './remote/index.js'
import { decodeMembers, readChecked } from './remote/reading.js'
import { backOff, realSurroundings } from './remote/surroundings.js'
import { tableOf } from './replica-plan.js'
import type { ArchiveRestored } from './restore.js'
import { committableMs, isSetName, pin, unpin } from './set-pins.js'
import { StorePlace } from './store-place.js'

/** A frame of one shard. */
export interface SetMember {
  /** Name of the shard, as passed to {@link shardStore}. */
  readonly shard: string
  /** Id of a frame that was captured for this set, and is in the store of the shard. */
  readonly frameId: string
}

/** A committed set. */
export interface FrameSet {
  readonly name: string
  readonly members: readonly SetMember[]
  /** By the clock of the store. */
  readonly committedAt: Date
}

/** Common options of the functions for sets. */
export interface SetOptions {
  /** The same as for the archives of the shards. */
  readonly encryption?: EncryptionOptions | undefined
}

/** Options of {@link commitSet}. */
export interface CommitSetOptions extends SetOptions {
  /** Drops older sets, so that only this many are left, including this one. Default: drops none. */
  readonly keep?: number | undefined
}

/** Options of {@link restoreSet}, and all options of `restore()` except `parents`. */
export interface RestoreSetOptions extends SetOptions, Omit<RestoreOptions, 'parents'> {
  /** The shard whose frame is restored. */
  readonly shard: string
  /**
   * Name of the set. Default: the newest set. If several processes restore, one of them should
   * choose the set and tell the others.
   */
  readonly name?: string | undefined
  /** See `openArchive()`. */
  readonly spool?: string | URL | undefined
}

const format = 1
const setPrefix = 'set/'
const attempts = 8

/**
 * A store with sets and shards. Each shard is sealed separately, because object names are
 * authenticated as the archive of the shard uses them.
 */
class SetStore {
  readonly sets: ObjectStore
  readonly #store: ObjectStore
  readonly #seal: (store: ObjectStore) => ObjectStore

  constructor(store: unknown, encryption: unknown) {
    const keys = encryption === undefined ? undefined : checkEncryption(encryption)
    this.#seal = (inner) => (keys === undefined ? inner : new SealedStore(inner, keys))
    this.#store = checkStore(store, 'store')
    this.sets = this.#seal(this.#store)
  }

  shard(name: string): ObjectStore {
    return this.#seal(shardStore(this.#store, name))
  }
}

/**
 * The part of a store that holds the archive of a shard, for use as the place or the `store` option
 * of `openArchive()`.
 *
 * @param shard - 1 to 100 letters, digits, `_`, `-` and `.`; the first character must not be `.`.
 */
export function shardStore(store: ObjectStore, shard: string): ObjectStore {
  return new PrefixedStore(checkStore(store, 'store'), `shard/${checkName(shard, 'shard')}`)
}

/**
 * Commits a set of frames, atomically. Each frame must have been captured with `set: name` at most
 * half a day ago, and must be in the store of its shard (`await archive.copied()` if the archive is
 * in a directory). The store keeps the frames until the set is dropped, whatever the retention
 * rules say.
 *
 * Rejects with TypeError or RangeError for invalid arguments, and with a StillframeError:
 * `NOT_FOUND` if a frame is not in the store, `EXISTS` if a set of this name has other frames, `IO`
 * if it is unknown whether the set was committed; in that case, call again with the same members.
 */
export async function commitSet(
  store: ObjectStore,
  name: string,
  members: readonly SetMember[],
  options?: CommitSetOptions,
): Promise<void> {
  const given = checkOptions(options, ['encryption', 'keep'])
  const keep = optionalInteger(given.keep, 'options.keep', 1, Number.MAX_SAFE_INTEGER)
  const place = new SetStore(store, given.encryption)
  const checked = checkMembers(members)
  checkName(name, 'name')
  // Pin first, so that no frame is pruned after it was checked.
  for (const { shard, frameId } of checked) await pin(place.shard(shard), name, frameId)
  try {
    for (const member of checked) await checkMember(place, name, member)
    await putSet(place, name, checked)
  } catch (error) {
    // After an IO error the set may be committed.
    if (codeOf(error) !== 'ERR_STILLFRAME_IO') await unpinUnlessCommitted(place, name, checked)
    throw error
  }
  if (keep === undefined) return
  const sets = await readSets(place)
  for (const { name: older } of sets.slice(0, Math.max(0, sets.length - keep))) {
    if (older !== name) await drop(place, older)
  }
}

/** All committed sets, oldest first. */
export async function listSets(store: ObjectStore, options?: SetOptions): Promise<FrameSet[]> {
  return await readSets(new SetStore(store, checkOptions(options, ['encryption']).encryption))
}

/**
 * Removes a set, so that its frames are kept only as long as the retention rules say. Dropping a
 * set that does not exist is no error.
 */
export async function dropSet(store: ObjectStore, name: string, options?: SetOptions): Promise<void> {
  const { encryption } = checkOptions(options, ['encryption'])
  await drop(new SetStore(store, encryption), checkName(name, 'name'))
}

/**
 * Restores the frame of one shard of a set, as `archive.restore()` does.
 *
 * Rejects as `archive.restore()` does, and with a StillframeError: `GAP` if there is no committed
 * set, `NOT_FOUND` if there is no set of this name, or if it has no such shard. A damaged frame is
 * an error, since an older one would be of another instant.
 */
export async function restoreSet<Meta = JsonValue>(
  store: ObjectStore,
  options: RestoreSetOptions,
): Promise<ArchiveRestored<Meta> & { readonly set: FrameSet }> {
  const names = ['shard', 'name', 'encryption', 'spool', ...restoreOptionNames] as const
  const { shard, name, encryption, spool, ...rest } = checkOptions(options, names)
  const place = new SetStore(store, encryption)
  checkName(shard, 'options.shard')
  if (name !== undefined) checkName(name, 'options.name')
  const directory = spool === undefined ? tmpdir() : checkDirectory(spool, 'write', 'options.spool')
  const set = name === undefined ? (await readSets(place)).at(-1) : await readSet(place, name as string)
  if (set === undefined) {
    throw name === undefined
      ? new StillframeError('ERR_STILLFRAME_GAP', 'There is no complete set in the store')
      : new StillframeError(
          'ERR_STILLFRAME_NOT_FOUND',
          `There is no set '${name}' in the store, or it is not complete`,
        )
  }
  const member = set.members.find((one) => one.shard === shard)
  if (member === undefined) {
    throw new StillframeError('ERR_STILLFRAME_NOT_FOUND', `Set '${set.name}' has no shard '${shard}'`)
  }
  const restored = await new StorePlace(place.shard(member.shard), directory).restore<Meta>({
    wish: { id: member.frameId },
    onDamage: 'throw',
    options: rest as RestoreOptions,
  })
  return Object.assign(restored, { set })
}

async function checkMember(place: SetStore, name: string, { shard, frameId }: SetMember): Promise<void> {
  const reader = await openForReading(place.shard(shard))
  const table = tableOf(reader.frames)
  const found = table.byId(frameId)
  const refuse = (what: string): StillframeError =>
    new StillframeError('ERR_STILLFRAME_NOT_FOUND', `Frame ${frameId} of shard '${shard}' ${what}`)
  if (found === undefined || found.manifest.retiredAtMs !== undefined) {
    throw refuse("is not in the store. Wait for its capture, and for 'archive.copied()'")
  }
  if (found.manifest.set !== name) throw refuse(`was not captured with { set: '${name}' }`)
  if (table.chainOf(found).missing !== undefined) throw refuse('builds on a missing frame')
  if (Date.now() - found.manifest.frozenAtMs > committableMs) {
    throw refuse('is older than half a day and may have been pruned. Capture the set again')
  }
}

/**
 * Puts the object that commits the set. If the answer was lost, the members show whether it
 * succeeded.
 */
async function putSet(place: SetStore, name: string, members: readonly SetMember[]): Promise<void> {
  const body = Buffer.from(encodeChecked({ format, members }))
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(realSurroundings, attempt)
    try {
      await place.sets.put(setPrefix + name, body, { ifAbsent: true })
      return
    } catch (error) {
      failure = error
    }
    const there = await readSet(place, name).catch((error: unknown) => {
      failure = error
    })
    if (there === undefined) continue
    if (isDeepStrictEqual(there.members, members)) return
    throw new StillframeError(
      'ERR_STILLFRAME_EXISTS',
      `There is already a set '${name}' of other frames. Give each set its own name`,
    )
  }
  throw new StillframeError(
    'ERR_STILLFRAME_IO',
    `It is unknown whether set '${name}' is committed: ${messageOf(failure)}. Commit it again, with the ` +
      'same members',
    { cause: failure },
  )
}

async function unpinUnlessCommitted(
  place: SetStore,
  name: string,
  members: readonly SetMember[],
): Promise<void> {
  const committed = await readSet(place, name).catch(() => 'unknown' as const)
  if (committed === 'unknown') return
  const kept = new Set(committed?.members.map(({ frameId }) => frameId))
  for (const { shard, frameId } of members) {
    if (!kept.has(frameId)) await unpin(place.shard(shard), name, frameId).catch(() => {})
  }
}

/** Removes the set before the pins: a set without its frames could not be restored. */
async function drop(place: SetStore, name: string): Promise<void> {
  const set = await readSet(place, name)
  if (set === undefined) return
  await place.sets.delete(setPrefix + name)
  for (const { shard, frameId } of set.members) await unpin(place.shard(shard), name, frameId)
}

async function readSets(place: SetStore): Promise<FrameSet[]> {
  const sets: FrameSet[] = []
  for await (const { key } of place.sets.list(setPrefix)) {
    const set = await readSet(place, key.slice(setPrefix.length))
    if (set !== undefined) sets.push(set)
  }
  return sets.sort((a, b) => a.committedAt.getTime() - b.committedAt.getTime() || (a.name < b.name ? -1 : 1))
}

async function readSet(place: SetStore, name: string): Promise<FrameSet | undefined> {
  const found = await readChecked(place.sets, setPrefix + name, (body) => {
    const { format: written, members } = decodeMembers(body)
    if (written !== format) throw new Error(`it has format ${written}, which this version cannot read`)
    return checkMembers(members)
  })
  return found && { name, members: found.value, committedAt: new Date(found.putMs) }
}

/** @throws TypeError. */
export function checkName(value: unknown, name: string): string {
  if (isSetName(value)) return value
  if (typeof value !== 'string') throw invalidArgType(name, 'a string', value)
  throw invalidArgValue(
    `${name} must be 1 to 100 letters, digits, '_', '-' and '.', and must not begin with '.'`,
  )
}

function checkMembers(members: unknown): SetMember[] {
  if (!Array.isArray(members)) throw invalidArgType('members', 'an array of { shard, frameId }', members)
  if (members.length === 0) throw invalidArgValue('members must not be empty')
  const checked = members.map((member: unknown, index) => {
    const { shard, frameId } = checkOptions(member, ['shard', 'frameId'], `members[${index}]`)
    if (typeof frameId !== 'string' || !/^[0-9a-f-]{36}$/.test(frameId)) {
      throw invalidArgType(`members[${index}].frameId`, 'the id of a frame', frameId)
    }
    return { shard: checkName(shard, `members[${index}].shard`), frameId }
  })
  if (new Set(checked.map(({ shard }) => shard)).size < checked.length) {
    throw invalidArgValue('members must contain each shard only once')
  }
  return checked
}
