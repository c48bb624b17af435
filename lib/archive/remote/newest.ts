/** Which version is in force: the greatest. */

import { StillframeError } from '../../base/errors.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { isCommit, readBoundary } from './boundary.js'
import { manifestKey, manifestPrefix, versionOf } from './names.js'
import { type Read, readState } from './reading.js'
import type { RemoteState } from './remote-state.js'

/** How often everything may move on between two looks. Others need a collection each time. */
const rounds = 16

/**
 * A list may lag, and so it only says where to begin: from there on each following number is asked for, until there is
 * none.
 *
 * @param from - a version that is known to have been a commit: nothing older is looked at.
 * @returns undefined: the store holds no archive.
 */
export async function findNewest(store: ObjectStore, from = 1): Promise<Read<RemoteState> | undefined> {
  let start = 1
  let missing = false
  for (let round = 0; round < rounds; round++) {
    const boundary = await readBoundary(store)
    // Manifests are only missing below the boundary, and none is below the first.
    if (missing && boundary === undefined && start === 1) return undefined
    const floor = Math.max(boundary?.value ?? 1, from)
    start = Math.max(floor, await greatestListed(store))
    const found = await lastFrom(store, start)
    missing = found === undefined
    // If the boundary has passed, there may have been more behind it, which is gone.
    if (found !== undefined && (await isCommit(store, found.value.version))) return found
  }
  if (missing) {
    throw new StillframeError(
      'ERR_STILLFRAME_CORRUPT',
      `The archive in the store lacks object '${manifestKey(start)}', which somebody has removed. Bring it back, ` +
        'if the store keeps earlier versions of objects',
    )
  }
  throw storeFailure(manifestKey(start), `the archive has moved on ${rounds} times while it was being read`)
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
