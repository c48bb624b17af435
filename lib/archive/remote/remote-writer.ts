/**
 * The writer of an archive in a store. Several processes may consider themselves the writer. Only
 * the one that opened the archive last is; each other one finds out at its next commit, which
 * fails.
 */

import { StillframeError } from '../../base/errors.js'
import { type ObjectStore, storeFailure } from '../../store/store.js'
import { advanceBoundary, isCommit } from './boundary.js'
import {
  hasLastGarbage,
  manifestsBelow,
  orphansOf,
  type Periods,
  removableGarbage,
  removeAll,
  removeUnfinished,
  type Survey,
  surveyStore,
} from './collection.js'
import { defaultLeaseMs, type Lease, takeLease } from './lease.js'
import { dataPrefix, manifestKey } from './names.js'
import { findNewest } from './newest.js'
import { placeState } from './placing.js'
import { probeStore } from './probe.js'
import { readState, toFailure } from './reading.js'
import {
  addedParts,
  missingPart,
  type RemoteFrame,
  type RemoteState,
  type StoredPart,
  successorOf,
  withTimes,
} from './remote-state.js'
import { StoreClock } from './store-clock.js'
import { backOff, realSurroundings, type Surroundings } from './surroundings.js'

export interface RemoteWriterOptions extends Partial<Periods> {
  readonly surroundings?: Surroundings
}

/**
 * A day. For this long, readers without a lease can read pruned frames, and parts of failed uploads
 * stay so that the upload can continue.
 */
const defaultGraceMs = 86_400_000
/** Far longer than the lists of any store have been seen to lag. */
const defaultSettleMs = 60_000

const attempts = 8
/** Attempts to open. Each may be lost to another writer that opens the archive at the same time. */
const openings = 16

/** Result of a collection. */
export interface Collected {
  readonly objects: number
  /** Number of abandoned uploads that were aborted. */
  readonly unfinished: number
  /** Number of objects that could not be removed; the next collection tries again. */
  readonly failed: number
  /** Number of live leases. */
  readonly leases: number
}

/** An upload in progress. */
export interface Upload {
  /** The parts that were uploaded earlier and are reliable. */
  readonly present: readonly StoredPart[]
  /** To be called when the frame has been committed or abandoned. */
  end(): void
}

/**
 * Opens the archive for writing, or creates one. The current writer is fenced.
 *
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_STORE`, `ERR_STILLFRAME_CORRUPT`,
 *   `ERR_STILLFRAME_IO`
 */
export async function openForWriting(
  store: ObjectStore,
  options: RemoteWriterOptions = {},
): Promise<RemoteWriter> {
  const surroundings = options.surroundings ?? realSurroundings
  await probeStore(store, surroundings)
  let failure: unknown = storeFailure(
    manifestKey(0),
    `other writers opened the archive first ${openings} times. Leave it to one writer`,
  )
  for (let opening = 0; opening < openings; opening++) {
    if (opening > 0) await backOff(surroundings, opening)
    try {
      const state = await open(store, surroundings)
      if (state !== undefined) return new RemoteWriter(store, state, options, surroundings)
    } catch (error) {
      if (!isOpenOutcome(error)) throw error
      failure = error
    }
  }
  throw failure
}

/** @returns undefined if another writer was faster. */
async function open(store: ObjectStore, surroundings: Surroundings): Promise<RemoteState | undefined> {
  const newest = await findNewest(store)
  const before = newest && withTimes(newest.value, newest.putMs)
  const state: RemoteState = {
    version: (before?.version ?? 0) + 1,
    epoch: (before?.epoch ?? 0) + 1,
    nonce: surroundings.nonce(),
    frames: before?.frames ?? [],
    garbage: before?.garbage ?? [],
  }
  if ((await placeState(store, state, surroundings)) !== 'placed') return undefined
  return (await isCommit(store, state.version)) ? state : undefined
}

function isOpenOutcome(error: unknown): boolean {
  return !(error instanceof StillframeError) || error.code === 'ERR_STILLFRAME_IO'
}

export class RemoteWriter {
  readonly #store: ObjectStore
  readonly #surroundings: Surroundings
  readonly #periods: Periods
  readonly #clock: StoreClock
  #state: RemoteState
  /**
   * States that were put at the next version with unknown outcome. At most one of them is or will
   * be there, since they all have the same version.
   */
  #doubtful: RemoteState[] = []
  #fenced: StillframeError | undefined
  /** Serializes commits. */
  #turn: Promise<unknown> = Promise.resolve()
  /** Number of uploads in progress for each frame id. */
  readonly #underWay = new Map<string, number>()

  /** @internal */
  constructor(
    store: ObjectStore,
    state: RemoteState,
    { graceMs = defaultGraceMs, settleMs = defaultSettleMs }: RemoteWriterOptions,
    surroundings: Surroundings,
  ) {
    this.#store = store
    this.#state = state
    this.#surroundings = surroundings
    this.#periods = { graceMs, settleMs }
    this.#clock = new StoreClock(store, surroundings)
  }

  get version(): number {
    return this.#state.version
  }

  get epoch(): number {
    return this.#state.epoch
  }

  /** As of the last known commit. */
  get frames(): readonly RemoteFrame[] {
    return this.#state.frames
  }

  /** True if another writer is known to have taken over the archive. */
  get isFenced(): boolean {
    return this.#fenced !== undefined
  }

  /**
   * Commits a new list of frames: once this resolves, the archive consists of them. The objects of
   * new frames must have been uploaded before. Objects of frames that are left out become garbage.
   *
   * If this rejects with `ERR_STILLFRAME_IO`, it is unknown whether the commit succeeded. The next
   * call finds out and passes the outcome to `change`, which must check whether its change is there
   * already.
   *
   * @param change - takes the current frames and returns the new ones, or the same array if there
   *   is nothing to commit. It may be called several times.
   * @throws StillframeError `ERR_STILLFRAME_FENCED` if another writer has taken over; all later
   *   calls then fail, too. `ERR_STILLFRAME_NOT_FOUND` if an object of a new frame is missing.
   */
  async commit(change: (frames: readonly RemoteFrame[]) => readonly RemoteFrame[]): Promise<void> {
    await this.#inTurn(async () => {
      await this.#commit((state) => {
        const frames = change(state.frames)
        if (frames === state.frames) return undefined
        return successorOf(state, { nonce: this.#surroundings.nonce(), frames })
      })
    })
  }

  /**
   * To be called before the objects of a frame are uploaded. Until `end()`, no collection of this
   * writer removes them.
   *
   * @param parts - parts that were uploaded earlier, according to a journal.
   */
  async beginUpload(frameId: string, parts: readonly StoredPart[] = []): Promise<Upload> {
    this.#underWay.set(frameId, (this.#underWay.get(frameId) ?? 0) + 1)
    let ended = false
    const end = (): void => {
      if (ended) return
      ended = true
      const left = (this.#underWay.get(frameId) ?? 0) - 1
      if (left > 0) this.#underWay.set(frameId, left)
      else this.#underWay.delete(frameId)
    }
    try {
      return { present: await this.#reliableOf(parts), end }
    } catch (error) {
      end()
      throw error
    }
  }

  /**
   * Removes objects that are no longer needed, and prepares the next collection to remove those
   * that become unneeded soon.
   *
   * @throws StillframeError `ERR_STILLFRAME_FENCED`
   */
  async collect(): Promise<Collected> {
    this.#refuseIfFenced()
    const survey = await surveyStore(this.#store, await this.#clock.nowMs(), this.#periods)
    const isUnderWay = (frameId: string): boolean => this.#underWay.has(frameId)
    const { garbage, orphans } = await this.#inTurn(async () => {
      await this.#settleDoubt()
      if (hasLastGarbage(this.#state, survey, this.#periods)) await this.#commit((state) => this.#same(state))
      await this.#checkInForce()
      // No await until everything is judged: this state is in force, and no commit is in progress.
      return {
        garbage: removableGarbage(this.#state, survey, this.#periods),
        orphans: orphansOf(this.#state, survey, isUnderWay),
      }
    })
    const keys = new Set(garbage.flatMap((entry) => [...entry.keys]))
    for (const { key } of orphans) keys.add(key)
    for (const { key, isAlive } of survey.leases) if (!isAlive) keys.add(key)
    for (const key of survey.oldProbes) keys.add(key)
    const failed = await removeAll(this.#store, keys)
    const removed = garbage.filter((entry) => !entry.keys.some((key) => failed.has(key)))
    const versions = new Set(removed.map(({ version }) => version))
    if (removed.length > 0) await this.#inTurn(async () => await this.#forget(versions))
    const unfinished = await removeUnfinished(this.#store, survey, this.#periods, isUnderWay)
    const manifests = await this.#moveOn(survey)
    return {
      objects: keys.size - failed.size + manifests.objects,
      unfinished,
      failed: failed.size + manifests.failed,
      leases: survey.leases.filter(({ isAlive }) => isAlive).length,
    }
  }

  /** Takes a lease on the newest version. */
  async lease(leaseMs = defaultLeaseMs): Promise<Lease> {
    return await takeLease(this.#store, leaseMs, this.#state.version, this.#surroundings)
  }

  /**
   * Waits for operations in progress. This process stays the writer until another one opens the
   * archive.
   */
  async close(): Promise<void> {
    await this.#turn.catch(() => {})
    await this.#clock.close().catch(() => {})
  }

  async #inTurn<Value>(action: () => Promise<Value>): Promise<Value> {
    const before = this.#turn
    const turn = before.catch(() => {}).then(action)
    this.#turn = turn
    return await turn
  }

  /** @param change - returns undefined if there is nothing to commit. */
  async #commit(change: (state: RemoteState) => RemoteState | undefined): Promise<void> {
    this.#refuseIfFenced()
    for (;;) {
      const next = change(this.#state) ?? this.#unchanged()
      if (next === undefined) return
      await this.#checkThere(addedParts(this.#state, next))
      this.#doubtful.push(next)
      const inForce = await this.#place(next)
      await this.#adopt(inForce)
      if (inForce.nonce === next.nonce) return
      // An earlier state with unknown outcome turned out to be in force, so build on that one.
    }
  }

  /** Checks that all parts of a commit exist; results of earlier uploads do not prove that. */
  async #checkThere(parts: readonly StoredPart[]): Promise<void> {
    const missing = await Promise.all(
      parts.map(async ({ key, size }) => {
        const object = await this.#try(async () => await this.#store.head(key))
        return object?.size === size ? [] : [key]
      }),
    )
    const [key] = missing.flat()
    if (key === undefined) return
    // A later writer knows nothing of this writer's uploads and may have removed them.
    await this.#checkInForce()
    throw missingPart(key)
  }

  /** If the outcome at the next version is unknown, only another put can settle it. */
  #unchanged(): RemoteState | undefined {
    if (this.#doubtful.length === 0) return undefined
    return this.#same(this.#state)
  }

  /** The next version with the same frames. */
  #same(state: RemoteState): RemoteState {
    return successorOf(state, { nonce: this.#surroundings.nonce(), frames: state.frames })
  }

  async #settleDoubt(): Promise<void> {
    await this.#commit(() => undefined)
  }

  /**
   * @returns the state in force at the version of `next`: `next` itself, or an earlier state with
   *   unknown outcome.
   */
  async #place(next: RemoteState): Promise<RemoteState> {
    const placed = await placeState(this.#store, next, this.#surroundings)
    if (placed === 'gone') throw await this.#overtaken()
    const inForce = placed === 'placed' ? next : this.#ownOf(placed.value)
    // If the boundary is above this version, another manifest was there before and has been
    // removed.
    if (!(await this.#try(async () => await isCommit(this.#store, next.version))))
      throw await this.#overtaken()
    return inForce
  }

  /** Returns the state found at the next version, provided that this writer has put it. */
  #ownOf(found: RemoteState): RemoteState {
    if (found.epoch > this.#state.epoch) throw this.#fence(found.epoch)
    const own = this.#doubtful.find(({ nonce }) => nonce === found.nonce)
    if (own !== undefined) return own
    throw new StillframeError(
      'ERR_STILLFRAME_CORRUPT',
      `Object '${manifestKey(found.version)}' of the archive was written neither by this writer nor by a ` +
        'later one. Find out what else writes there',
    )
  }

  async #adopt(state: RemoteState): Promise<void> {
    this.#state = state
    this.#doubtful = []
    if (state.garbage.every(({ sinceMs }) => sinceMs !== undefined)) return
    // If this fails, a later version fills in the time.
    const object = await this.#store.head(manifestKey(state.version)).catch(() => undefined)
    if (object !== undefined) this.#state = withTimes(state, object.lastModified.getTime())
  }

  /**
   * Handles the case that the archive has moved on, and manifests after this writer's version are
   * gone.
   */
  async #overtaken(): Promise<StillframeError> {
    const newest = await this.#try(async () => await findNewest(this.#store, this.#state.version))
    const epoch = newest?.value.epoch ?? 0
    if (epoch > this.#state.epoch) return this.#fence(epoch)
    return new StillframeError(
      'ERR_STILLFRAME_CORRUPT',
      `Object '${manifestKey(this.#state.version + 1)}' of the archive was removed, but not by another ` +
        'writer. Find out what else removes objects there',
    )
  }

  #fence(epoch: number): StillframeError {
    this.#fenced ??= new StillframeError(
      'ERR_STILLFRAME_FENCED',
      `Another writer has opened this archive (epoch ${epoch}; this one has ${this.#state.epoch}). What ` +
        'was not reported as committed may or may not be. Open the archive again if this process is to ' +
        'write it',
    )
    return this.#fenced
  }

  #refuseIfFenced(): void {
    if (this.#fenced !== undefined) throw this.#fenced
  }

  /** @throws StillframeError if the version of this writer is not the newest. */
  async #checkInForce(): Promise<void> {
    let { version } = this.#state
    for (;;) {
      const next = await this.#try(async () => await readState(this.#store, version + 1))
      if (next === undefined) break
      // This may be a state with unknown outcome, with versions of another writer after it.
      this.#ownOf(next.value)
      version++
    }
    // Manifests after this version may have been removed already.
    if (!(await this.#try(async () => await isCommit(this.#store, version)))) throw await this.#overtaken()
  }

  /** Commits the removal of garbage entries. */
  async #forget(versions: ReadonlySet<number>): Promise<void> {
    await this.#commit((state) => {
      const garbage = state.garbage.filter(({ version }) => !versions.has(version))
      if (garbage.length === state.garbage.length) return undefined
      return { ...state, version: state.version + 1, nonce: this.#surroundings.nonce(), garbage }
    })
  }

  /**
   * Advances the boundary so that one generation is kept, and removes the manifests below it. Does
   * not advance while the last advance has not settled; otherwise none ever would.
   */
  async #moveOn({ boundary, isSettled }: Survey): Promise<{ objects: number; failed: number }> {
    let oldest = boundary?.value ?? 1
    const generation = this.#state.version - 1
    if (generation > oldest && (boundary === undefined || isSettled)) {
      await advanceBoundary(this.#store, generation, this.#surroundings)
      oldest = generation
    }
    const keys = await manifestsBelow(this.#store, oldest)
    const failed = await removeAll(this.#store, keys)
    return { objects: keys.length - failed.size, failed: failed.size }
  }

  /**
   * The parts that exist and will not be removed. An old part is not reliable: a collection of the
   * previous writer may have listed it as an orphan to remove, without having learned of this
   * writer yet.
   */
  async #reliableOf(parts: readonly StoredPart[]): Promise<StoredPart[]> {
    if (parts.length === 0) return []
    const reliable: StoredPart[] = []
    const nowMs = await this.#clock.nowMs()
    const givenUp = new Set(this.#state.garbage.flatMap(({ keys }) => [...keys]))
    for (const part of parts) {
      if (!part.key.startsWith(dataPrefix) || givenUp.has(part.key)) continue
      const object = await this.#try(async () => await this.#store.head(part.key))
      if (object?.size !== part.size) continue
      if (nowMs - object.lastModified.getTime() <= this.#periods.graceMs / 2) reliable.push(part)
    }
    return reliable
  }

  /** Reads with retries. */
  async #try<Value>(read: () => Promise<Value>): Promise<Value> {
    let failure: unknown
    for (let attempt = 0; attempt < attempts; attempt++) {
      if (attempt > 0) await backOff(this.#surroundings, attempt)
      try {
        return await read()
      } catch (error) {
        if (!isOpenOutcome(error)) throw error
        failure = error
      }
    }
    throw toFailure(failure, manifestKey(this.#state.version), `${attempts} attempts to read got no answer`)
  }
}
