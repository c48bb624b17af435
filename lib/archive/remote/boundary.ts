/**
 * The object `boundary`: manifests of versions below it are no commits. Without it a writer that has slept for long could put
 * a manifest where the real one has been removed, and take that for a commit. So it goes up before a manifest is removed,
 * and whoever has put a manifest looks at it before believing so. It never goes down, and is never removed.
 */

import { TextEncoder } from 'node:util'
import type { ObjectStore } from '../../store/store.js'
import { encodeChecked } from '../checked-json.js'
import { boundaryKey } from './names.js'
import { decodeMembers, isDamage, type Read, readChecked, toFailure } from './reading.js'
import { backOff, type Surroundings } from './surroundings.js'

const format = 1
const attempts = 8

/** The oldest version that is a commit; undefined: there is no boundary yet, and all are. */
export async function readBoundary(store: ObjectStore): Promise<Read<number> | undefined> {
  return await readChecked(store, boundaryKey, (body) => {
    const { format: written, oldest } = decodeMembers(body)
    if (written !== format) throw new Error(`it is of format ${written}, which this version cannot read`)
    if (!Number.isSafeInteger(oldest) || Number(oldest) < 1) throw new Error('it names no version')
    return Number(oldest)
  })
}

/** Whether a manifest of this version, which is there, is a commit. */
export async function isCommit(store: ObjectStore, version: number): Promise<boolean> {
  const boundary = await readBoundary(store)
  return boundary === undefined || boundary.value <= version
}

/** When this has returned, the boundary is at `oldest` or above. */
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
      // The nonce makes the etag of each boundary another one.
      const body = encodeChecked({ format, oldest, nonce: surroundings.nonce() })
      const condition = boundary === undefined ? { ifAbsent: true } : { ifMatch: boundary.etag }
      await store.put(boundaryKey, new TextEncoder().encode(body), condition)
      return
    } catch (error) {
      if (isDamage(error)) throw error
      // Whether it was this put, another one's or none, reading shows.
      failure = error
    }
  }
  throw toFailure(failure, boundaryKey, `it could not be advanced in ${attempts} attempts`)
}
