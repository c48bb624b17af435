/**
 * Leases: somebody reads version V, and nothing of it may go. A lease is an object, renewed by putting it again, and believed
 * for `leaseMs` after that by the clock of the store.
 *
 * The reader gives its lease up before anybody else does: it counts from before it asked, by a clock of its own that only
 * goes forward. What has lapsed is not renewed, since it may be removed at any moment; a new one is taken.
 */

import { Buffer } from 'node:buffer'
import { StillframeError } from '../../base/errors.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { encodeChecked } from '../checked-json.js'
import { isCommit } from './boundary.js'
import { leaseKey, leasePrefix } from './names.js'
import { findNewest } from './newest.js'
import { decodeMembers, isDamage, isNotFound, readChecked, toFailure } from './reading.js'
import type { RemoteFrame, RemoteState } from './remote-state.js'
import { clockSlackMs } from './store-clock.js'
import { backOff, type Surroundings } from './surroundings.js'

export const defaultLeaseMs = 3_600_000
/** A longer one is not believed: its reader may be gone. */
export const longestLeaseMs = 86_400_000

const format = 1
const attempts = 16

/** While it is held, no object of its frames is removed. */
export interface Lease {
  readonly version: number
  readonly frames: readonly RemoteFrame[]
  /** False: it could not be renewed in time, and objects may be gone. */
  readonly isHeld: boolean
  /** Aborted when the lease has lapsed. */
  readonly signal: AbortSignal
  /** Ends it. It may be called again. */
  release(): Promise<void>
}

/**
 * A lease on the newest version.
 *
 * @throws StillframeError `ERR_STILLFRAME_NOT_FOUND`: the store holds no archive.
 */
export async function takeLease(
  store: ObjectStore,
  leaseMs: number,
  from: number,
  surroundings: Surroundings,
): Promise<Lease> {
  let failure: unknown
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await backOff(surroundings, attempt)
    let lease: HeldLease | undefined
    try {
      const newest = await findNewest(store, from)
      if (newest === undefined) throw noArchive()
      lease = new HeldLease(store, newest.value, leaseMs, surroundings)
      await lease.put()
      // Objects of versions from the boundary on are removed by those only who have seen the lease.
      if ((await isCommit(store, lease.version)) && lease.isHeld) {
        lease.keep()
        return lease
      }
      failure = storeFailure(leaseKey(''), 'the archive moves on faster than a lease can be put')
    } catch (error) {
      if (isDamage(error) || isNotFound(error)) throw error
      failure = error
    }
    await lease?.release().catch(() => {})
  }
  throw toFailure(failure, leaseKey(''), `no lease could be put in ${attempts} attempts`)
}

export function noArchive(): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_NOT_FOUND',
    'There is no archive in the store, or none below this prefix',
  )
}

class HeldLease implements Lease {
  readonly version: number
  readonly frames: readonly RemoteFrame[]
  readonly #store: ObjectStore
  readonly #surroundings: Surroundings
  readonly #leaseMs: number
  readonly #key: string
  readonly #body: Uint8Array
  readonly #lapsed = new AbortController()
  readonly #released = new AbortController()
  /** By the clock of this process. */
  #endMs = Number.NEGATIVE_INFINITY

  constructor(store: ObjectStore, state: RemoteState, leaseMs: number, surroundings: Surroundings) {
    this.version = state.version
    this.frames = state.frames
    this.#store = store
    this.#surroundings = surroundings
    this.#leaseMs = leaseMs
    this.#key = leaseKey(surroundings.nonce())
    this.#body = Buffer.from(encodeChecked({ format, version: this.version, leaseMs }))
  }

  get isHeld(): boolean {
    return !this.#released.signal.aborted && this.#surroundings.monotonicMs() < this.#endMs
  }

  get signal(): AbortSignal {
    return this.#lapsed.signal
  }

  /** For the first time, or again. */
  async put(): Promise<void> {
    const isFirst = this.#endMs === Number.NEGATIVE_INFINITY
    const startMs = this.#surroundings.monotonicMs()
    await this.#store.put(this.#key, this.#body)
    // Too late: somebody may have found it dead before it was put.
    if (isFirst || this.#surroundings.monotonicMs() < this.#endMs) this.#endMs = startMs + this.#leaseMs
  }

  /** Renews it from now on. */
  keep(): void {
    void this.#renew()
    void this.#watch()
  }

  async release(): Promise<void> {
    this.#released.abort()
    await this.#store.delete(this.#key)
  }

  async #renew(): Promise<void> {
    let pauseMs = this.#leaseMs / 4
    while (this.isHeld) {
      await this.#surroundings.sleep(pauseMs, { signal: this.#released.signal, idle: true })
      if (!this.isHeld) return
      pauseMs = await this.put().then(
        () => this.#leaseMs / 4,
        () => this.#leaseMs / 16,
      )
      // Put by a renewal that was under way at the end.
      if (this.#released.signal.aborted) await this.#store.delete(this.#key).catch(() => {})
    }
  }

  async #watch(): Promise<void> {
    while (this.isHeld) {
      const leftMs = this.#endMs - this.#surroundings.monotonicMs()
      await this.#surroundings.sleep(leftMs, { signal: this.#released.signal, idle: true })
    }
    if (this.#released.signal.aborted) return
    const seconds = this.#leaseMs / 1000
    this.#lapsed.abort(
      storeFailure(
        this.#key,
        `the lease could not be renewed for ${seconds} s, and what it held may be gone. Begin anew`,
      ),
    )
  }
}

/** A lease of anybody, as a collection finds it. */
export interface FoundLease {
  readonly key: string
  readonly version: number
  readonly isAlive: boolean
}

/** @param nowMs - by the clock of the store, before the call. */
export async function readLeases(store: ObjectStore, nowMs: number): Promise<FoundLease[]> {
  const found: FoundLease[] = []
  for await (const { key, lastModified } of store.list(leasePrefix)) {
    // Of a list that lags, the time may be an older one.
    const lease = await readChecked(store, key, decodeLease).catch((error: unknown) => {
      if (!isDamage(error)) throw error
      // It holds everything, for as long as it may.
      return { value: { version: 0, leaseMs: defaultLeaseMs }, putMs: lastModified.getTime() }
    })
    if (lease === undefined) continue
    const { version, leaseMs } = lease.value
    const lifeMs = Math.min(leaseMs, longestLeaseMs) + clockSlackMs
    found.push({ key, version, isAlive: nowMs - lease.putMs <= lifeMs })
  }
  return found
}

function decodeLease(body: Uint8Array): { version: number; leaseMs: number } {
  const { format: written, version, leaseMs } = decodeMembers(body)
  if (written !== format) throw new Error(`it is of format ${written}, which this version cannot read`)
  if (!Number.isSafeInteger(version) || !Number.isFinite(leaseMs))
    throw new Error('it lacks what every lease has')
  return { version: Number(version), leaseMs: Number(leaseMs) }
}
