/**
 * The object `boundary`. Manifests of versions below it are not commits. Without it, a writer that
 * was suspended for long could put a manifest in the place of one that has been removed, and take
 * that for a commit. So the boundary is advanced before any manifest is removed, and a writer that
 * has put a manifest checks the boundary before it believes in its commit. The boundary never goes
 * back and is never removed.
 */

import { TextEncoder } from 'node:util'
import type { ObjectStore } from '../../store/store.js'
import { encodeChecked } from '../checked-json.js'
import { boundaryKey } from './names.js'
import { decodeMembers, isDamage, type Read, readChecked, toFailure } from './reading.js'
import { backOff, type Surroundings } from './surroundings.js'

const format = 1
const attempts = 8

/**
 * The oldest version that is a commit; undefined if there is no boundary yet, and all versions are.
 */
export async function readBoundary(store: ObjectStore): Promise<Read<number> | undefined> {
  return await readChecked(store, boundaryKey, (body) => {
    const { format: written, oldest } = decodeMembers(body)
    if (written !== format) throw new Error(`it has format ${written}, which this version cannot read`)
    if (!Number.isSafeInteger(oldest) || Number(oldest) < 1) throw new Error('it does not name a version')
    return Number(oldest)
  })
}

/** True if the existing manifest of this version is a commit. */
export async function isCommit(store: ObjectStore, version: number): Promise<boolean> {
  const boundary = await readBoundary(store)
  return boundary === undefined || boundary.value <= version
}

/** Once this resolves, the boundary is at `oldest` or above. */
export async function advanceBoundary(
  store: ObjectStore,
  oldest: number,
  surroundings: Surroundings,
): Promise<void> {
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(surroundings, attempt)
    try {
      const boundary = await readBoundary(store)
      if (boundary !== undefined && boundary.value >= oldest) return
      // The nonce makes the etag of each boundary unique.
      const body = encodeChecked({ format, oldest, nonce: surroundings.nonce() })
      const condition = boundary === undefined ? { ifAbsent: true } : { ifMatch: boundary.etag }
      await store.put(boundaryKey, new TextEncoder().encode(body), condition)
      return
    } catch (error) {
      if (isDamage(error)) throw error
      // The next read shows whether this put, another one, or none has succeeded.
      failure = error
    }
  }
  throw toFailure(failure, boundaryKey, `it could not be advanced in ${attempts} attempts`)
}
