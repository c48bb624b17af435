/**
 * Protects the frames of sets from pruning. The store of each shard has an object
 * `pin/<set>/<frame id>` for each frame in a set that is committed or about to be. A frame that was
 * captured for a set and is not pinned yet stays for a day, long after any commit of a set with it.
 * So no frame is pruned between the check of the frame and the commit of its set.
 */

import { Buffer } from 'node:buffer'
import type { ObjectStore } from '../store/store.js'
import type { RemoteFrame } from './remote/index.js'

const prefix = 'pin/'
/** How long an unpinned frame is kept, by the clock of the machine that has captured it. */
const unpinnedMs = 86_400_000
/**
 * How old a frame of a new set may be, by the clock of the machine that commits. The other half of
 * the day allows for clocks that differ.
 */
export const committableMs = unpinnedMs / 2

/** Names of sets and shards become parts of keys. */
export function isSetName(value: unknown): value is string {
  return typeof value === 'string' && /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/.test(value)
}

function pinKey(set: string, frameId: string): string {
  return `${prefix}${set}/${frameId}`
}

export async function pin(shard: ObjectStore, set: string, frameId: string): Promise<void> {
  await shard.put(pinKey(set, frameId), Buffer.from('pinned'))
}

export async function unpin(shard: ObjectStore, set: string, frameId: string): Promise<void> {
  await shard.delete(pinKey(set, frameId))
}

/** Why a frame must not be pruned, whatever the rules say; undefined if it may be. */
export type Protection = (frame: RemoteFrame) => string | undefined

/** Reads the store only if some frame belongs to a set. */
export async function protectionIn(shard: ObjectStore, frames: readonly RemoteFrame[]): Promise<Protection> {
  if (frames.every(({ set }) => set === undefined)) return () => undefined
  const pinned = new Map<string, string>()
  for await (const { key } of shard.list(prefix)) {
    const [, set = '', frameId = ''] = key.split('/')
    pinned.set(frameId, set)
  }
  return ({ id, set, frozenAtMs }) => {
    const of = pinned.get(id)
    if (of !== undefined) return `set ${of}`
    return set !== undefined && Date.now() - frozenAtMs < unpinnedMs ? `set ${set}, not committed` : undefined
  }
}
