/**
 * What keeps the frames of sets: in the store of each shard, `pin/<set>/<frame id>` for each frame that belongs to a set which is
 * committed, or about to be. A frame that was captured for a set and is not pinned yet stays for a day, which is long after
 * anybody commits a set with it. So no frame is given up between the look at it and the commit of its set.
 */

import { Buffer } from 'node:buffer'
import type { ObjectStore } from '../store/store.js'
import type { RemoteFrame } from './remote/index.js'

const prefix = 'pin/'
/** By the clock of the machine that has captured the frame. */
const unpinnedMs = 86_400_000
/** By the clock of the machine that commits: half of it is for clocks that differ. */
export const committableMs = unpinnedMs / 2

/** Names of sets and of shards, which are parts of keys. */
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

/** Why a frame may not be given up, whatever the rules say; undefined: it may. */
export type Protection = (frame: RemoteFrame) => string | undefined

/** Asks the store only if any frame is of a set. */
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
