/**
 * Leases. While a reader holds a lease on version V, no object of that version is removed. A lease
 * is an object, renewed by putting it again. It is valid for `leaseMs` after the last put, by the
 * clock of the store.
 *
 * The reader stops relying on its lease before anyone else does: it counts from before the put, by
 * its own monotonic clock. A lapsed lease is never renewed, since it may be removed at any moment;
 * the reader takes a new one.
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
/** A longer lease is cut to this, since its reader may be gone. */
export const longestLeaseMs = 86_400_000

const format = 1
const attempts = 16

/** While a lease is held, no object of its frames is removed. */
export interface Lease {
  readonly version: number
  readonly frames: readonly RemoteFrame[]
  /** False after the release, or if the lease was not renewed in time and objects may be gone. */
  readonly isHeld: boolean
  /** Aborted when the lease lapses. */
  readonly signal: AbortSignal
  /** Ends the lease. May be called again. */
  release(): Promise<void>
}

/**
 * Takes a lease on the newest version.
 *
 * @throws StillframeError `ERR_STILLFRAME_NOT_FOUND` if the store holds no archive.
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
      // A collection that removes objects of versions from the boundary on has seen this lease.
      if ((await isCommit(store, lease.version)) && lease.isHeld) {
        lease.keep()
        return lease
      }
      failure = storeFailure(leaseKey(''), 'the archive advances faster than a lease can be written')
    } catch (error) {
      if (isDamage(error) || isNotFound(error)) throw error
      failure = error
    }
    await lease?.release().catch(() => {})
  }
  throw toFailure(failure, leaseKey(''), `no lease could be written in ${attempts} attempts`)
}

export function noArchive(): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_NOT_FOUND',
    'There is no archive in the store, or none under this prefix',
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
  /** By the monotonic clock of this process. */
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

  /** Puts the lease for the first time, or renews it. */
  async put(): Promise<void> {
    const isFirst = this.#endMs === Number.NEGATIVE_INFINITY
    const startMs = this.#surroundings.monotonicMs()
    await this.#store.put(this.#key, this.#body)
    // If the lease lapsed before the put completed, a collection may have found it dead.
    if (isFirst || this.#surroundings.monotonicMs() < this.#endMs) this.#endMs = startMs + this.#leaseMs
  }

  /** Starts the renewal. */
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
      // Remove what a renewal in progress has put after the release.
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
        `the lease could not be renewed for ${seconds} s, and the objects that it protected may be gone. ` +
          'Start again',
      ),
    )
  }
}

/** A lease of any reader, as found by a collection. */
export interface FoundLease {
  readonly key: string
  readonly version: number
  readonly isAlive: boolean
}

/** @param nowMs - by the clock of the store, read before the call. */
export async function readLeases(store: ObjectStore, nowMs: number): Promise<FoundLease[]> {
  const found: FoundLease[] = []
  for await (const { key, lastModified } of store.list(leasePrefix)) {
    // A list that lags may show an older time, so take the time from the object itself.
    const lease = await readChecked(store, key, decodeLease).catch((error: unknown) => {
      if (!isDamage(error)) throw error
      // Treat a damaged lease as one on every version, with the default duration.
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
  if (written !== format) throw new Error(`it has format ${written}, which this version cannot read`)
  if (!Number.isSafeInteger(version) || !Number.isFinite(leaseMs)) throw new Error('it lacks required fields')
  return { version: Number(version), leaseMs: Number(leaseMs) }
}
