/** Reads an archive in a store. Any number of readers can run alongside the writer. */

import type { ObjectStore } from '../../store/store.js'
import { defaultLeaseMs, type Lease, noArchive, takeLease } from './lease.js'
import { findNewest } from './newest.js'
import type { RemoteFrame, RemoteState } from './remote-state.js'
import { realSurroundings, type Surroundings } from './surroundings.js'

export interface RemoteReaderOptions {
  readonly surroundings?: Surroundings
}

/**
 * @throws StillframeError `ERR_STILLFRAME_NOT_FOUND` if the store holds no archive.
 *   `ERR_STILLFRAME_CORRUPT` if its newest manifest is damaged; an older one is not used instead.
 */
export async function openForReading(
  store: ObjectStore,
  { surroundings = realSurroundings }: RemoteReaderOptions = {},
): Promise<RemoteReader> {
  const newest = await findNewest(store)
  if (newest === undefined) throw noArchive()
  return new RemoteReader(store, newest.value, surroundings)
}

export class RemoteReader {
  readonly #store: ObjectStore
  readonly #surroundings: Surroundings
  #state: RemoteState

  /** @internal */
  constructor(store: ObjectStore, state: RemoteState, surroundings: Surroundings) {
    this.#store = store
    this.#state = state
    this.#surroundings = surroundings
  }

  get version(): number {
    return this.#state.version
  }

  get epoch(): number {
    return this.#state.epoch
  }

  /** As of the last `refresh()`, or of the opening. */
  get frames(): readonly RemoteFrame[] {
    return this.#state.frames
  }

  /** Reads the newest version. */
  async refresh(): Promise<void> {
    const newest = await findNewest(this.#store, this.#state.version)
    if (newest === undefined) throw noArchive()
    if (newest.value.version > this.#state.version) this.#state = newest.value
  }

  /**
   * Takes a lease on the newest version, for reads that last longer than a moment. This requires
   * the right to put objects below `lease/`. Without a lease, objects of pruned frames stay for the
   * writer's grace period.
   */
  async lease(leaseMs = defaultLeaseMs): Promise<Lease> {
    return await takeLease(this.#store, leaseMs, this.#state.version, this.#surroundings)
  }
}
