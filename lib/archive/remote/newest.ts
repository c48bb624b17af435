/** Finds the version in force, which is the greatest one. */

import { StillframeError } from '../../base/errors.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { isCommit, readBoundary } from './boundary.js'
import { manifestKey, manifestPrefix, versionOf } from './names.js'
import { type Read, readState } from './reading.js'
import type { RemoteState } from './remote-state.js'

/** Limit on retries while the archive moves on. Each retry takes another collection meanwhile. */
const rounds = 16

/**
 * Finds the newest manifest. A list may lag, so it only provides the starting point: each following
 * version is requested until one is missing.
 *
 * @param from - a version known to be a commit; older ones are not considered.
 * @returns undefined if the store holds no archive.
 */
export async function findNewest(store: ObjectStore, from = 1): Promise<Read<RemoteState> | undefined> {
  let start = 1
  let missing = false
  for (let round = 0; round < rounds; round++) {
    const boundary = await readBoundary(store)
    // Manifests are removed only below the boundary. Without one, version 1 was never there.
    if (missing && boundary === undefined && start === 1) return undefined
    const floor = Math.max(boundary?.value ?? 1, from)
    start = Math.max(floor, await greatestListed(store))
    const found = await lastFrom(store, start)
    missing = found === undefined
    // If the boundary has passed this version, newer manifests may follow a gap of removed ones.
    if (found !== undefined && (await isCommit(store, found.value.version))) return found
  }
  if (missing) {
    throw new StillframeError(
      'ERR_STILLFRAME_CORRUPT',
      `The archive in the store lacks object '${manifestKey(start)}', which has been removed. Restore it ` +
        'if the store keeps earlier versions of objects',
    )
  }
  throw storeFailure(manifestKey(start), `the archive has changed ${rounds} times while it was being read`)
}

async function lastFrom(store: ObjectStore, start: number): Promise<Read<RemoteState> | undefined> {
  let last = await readState(store, start)
  while (last !== undefined) {
    const next = await readState(store, last.value.version + 1)
    if (next === undefined) return last
    last = next
  }
  return undefined
}

async function greatestListed(store: ObjectStore): Promise<number> {
  let greatest = 0
  for await (const { key } of store.list(manifestPrefix)) {
    greatest = Math.max(greatest, versionOf(key) ?? 0)
  }
  return greatest
}
