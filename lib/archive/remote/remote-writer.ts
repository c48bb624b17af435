/**
 * The writer of an archive in a store. There may be several that believe to be it: the last to have opened the archive is, and
 * each other one finds that out at its next commit, which fails.
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

/** A day. What was given up can be read for so long by those who cannot put a lease, and what an upload has left is there to go on with. */
const defaultGraceMs = 86_400_000
/** Far more than any store's lists have been seen to lag. */
const defaultSettleMs = 60_000

const attempts = 8
/** Of opening: each is lost to another writer that opens at the same time. */
const openings = 16

/** What a collection has removed. */
export interface Collected {
  readonly objects: number
  /** Uploads that nobody goes on with. */
  readonly unfinished: number
  /** Objects that could not be removed; the next collection tries again. */
  readonly failed: number
  /** Leases that others hold. */
  readonly leases: number
}

/** An upload that has begun. */
export interface Upload {
  /** Of those that were there before, the parts that can be relied on. */
  readonly present: readonly StoredPart[]
  /** To be called when the frame has been committed, or was given up. */
  end(): void
}

/**
 * Opens the archive for writing, or makes one. Whoever has it open for writing is fenced.
 *
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_STORE`, `ERR_STILLFRAME_CORRUPT`, `ERR_STILLFRAME_IO`
 */
export async function openForWriting(
  store: ObjectStore,
  options: RemoteWriterOptions = {},
): Promise<RemoteWriter> {
  const surroundings = options.surroundings ?? realSurroundings
  await probeStore(store, surroundings)
  let failure: unknown = storeFailure(
    manifestKey(0),
    `other writers were faster ${openings} times. Let one have it`,
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

/** @returns undefined if somebody else was faster. */
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
  /** Put at the next version, without knowing whether they are there, or will be: at most one of them, since no other fits. */
  #doubtful: RemoteState[] = []
  #fenced: StillframeError | undefined
  /** One commit after the other. */
  #turn: Promise<unknown> = Promise.resolve()
  /** How many uploads there are of a frame. */
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

  /** As of the last commit that is known of. */
  get frames(): readonly RemoteFrame[] {
    return this.#state.frames
  }

  /** Whether another writer has taken the archive over, as far as is known. */
  get isFenced(): boolean {
    return this.#fenced !== undefined
  }

  /**
   * Commits other frames: when this has returned, they are what the archive holds. The objects of new ones have been uploaded
   * before; those of frames that are left out become garbage.
   *
   * If it rejects with `ERR_STILLFRAME_IO`, it is not known whether they are. The next call finds out, and gives `change`
   * what came of it: it must look whether what it wants is there already.
   *
   * @param change - gets the frames that are there and returns those that should be; the same array: there is nothing to
   *   commit. It may be called several times.
   * @throws StillframeError `ERR_STILLFRAME_FENCED`: another writer has taken over, and this one can do no more.
   *   `ERR_STILLFRAME_NOT_FOUND`: an object of a new frame is not there.
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
   * To be called before a frame's objects are uploaded: until `end()`, no collection of this writer removes them.
   *
   * @param parts - that are known, from a journal, to have been uploaded before.
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
   * Removes what nobody needs any more, and lets the next collection remove what can be needed now, but not much longer.
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
      // Nothing is waited for until all is judged: this state is in force, and no other is under way.
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

  /** A lease on the newest version. */
  async lease(leaseMs = defaultLeaseMs): Promise<Lease> {
    return await takeLease(this.#store, leaseMs, this.#state.version, this.#surroundings)
  }

  /** Waits for what has begun. The archive stays this writer's until another one opens it. */
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

  /** @param change - undefined: there is nothing to commit. */
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
      // One of before, which was not known to be there, is: so this one builds on it.
    }
  }

  /** What is committed has to be there: nothing that the caller was told of it long ago says that. */
  async #checkThere(parts: readonly StoredPart[]): Promise<void> {
    const missing = await Promise.all(
      parts.map(async ({ key, size }) => {
        const object = await this.#try(async () => await this.#store.head(key))
        return object?.size === size ? [] : [key]
      }),
    )
    const [key] = missing.flat()
    if (key === undefined) return
    // A later writer knows nothing of this one's uploads.
    await this.#checkInForce()
    throw missingPart(key)
  }

  /** Where it is not known what is there at the next version, something has to be put there before that is known. */
  #unchanged(): RemoteState | undefined {
    if (this.#doubtful.length === 0) return undefined
    return this.#same(this.#state)
  }

  /** A version that differs in nothing else. */
  #same(state: RemoteState): RemoteState {
    return successorOf(state, { nonce: this.#surroundings.nonce(), frames: state.frames })
  }

  async #settleDoubt(): Promise<void> {
    await this.#commit(() => undefined)
  }

  /** @returns what is in force at the version of `next`: that, or one of before that had been in doubt. */
  async #place(next: RemoteState): Promise<RemoteState> {
    const placed = await placeState(this.#store, next, this.#surroundings)
    if (placed === 'gone') throw await this.#overtaken()
    const inForce = placed === 'placed' ? next : this.#ownOf(placed.value)
    // A manifest below the boundary is no commit: there was one, and it has been removed.
    if (!(await this.#try(async () => await isCommit(this.#store, next.version))))
      throw await this.#overtaken()
    return inForce
  }

  /** What was found at the next version, if it is of this writer. */
  #ownOf(found: RemoteState): RemoteState {
    if (found.epoch > this.#state.epoch) throw this.#fence(found.epoch)
    const own = this.#doubtful.find(({ nonce }) => nonce === found.nonce)
    if (own !== undefined) return own
    throw new StillframeError(
      'ERR_STILLFRAME_CORRUPT',
      `Object '${manifestKey(found.version)}' of the archive is not of this writer, nor of a later one. Look who else writes there`,
    )
  }

  async #adopt(state: RemoteState): Promise<void> {
    this.#state = state
    this.#doubtful = []
    if (state.garbage.every(({ sinceMs }) => sinceMs !== undefined)) return
    // If that fails, a later version tells it.
    const object = await this.#store.head(manifestKey(state.version)).catch(() => undefined)
    if (object !== undefined) this.#state = withTimes(state, object.lastModified.getTime())
  }

  /** All of it has moved on, and manifests of later versions than this writer knows have been removed. */
  async #overtaken(): Promise<StillframeError> {
    const newest = await this.#try(async () => await findNewest(this.#store, this.#state.version))
    const epoch = newest?.value.epoch ?? 0
    if (epoch > this.#state.epoch) return this.#fence(epoch)
    return new StillframeError(
      'ERR_STILLFRAME_CORRUPT',
      `Object '${manifestKey(this.#state.version + 1)}' of the archive was removed, and not by another writer. Look who else ` +
        'removes objects there',
    )
  }

  #fence(epoch: number): StillframeError {
    this.#fenced ??= new StillframeError(
      'ERR_STILLFRAME_FENCED',
      `Another writer has opened this archive (epoch ${epoch}; this one has ${this.#state.epoch}). What was not told to be ` +
        'committed may be or not. Open the archive again if this process is to have it',
    )
    return this.#fenced
  }

  #refuseIfFenced(): void {
    if (this.#fenced !== undefined) throw this.#fenced
  }

  /** @throws if this writer's version is not the newest. */
  async #checkInForce(): Promise<void> {
    let { version } = this.#state
    for (;;) {
      const next = await this.#try(async () => await readState(this.#store, version + 1))
      if (next === undefined) break
      // One that is in doubt may be there: what another writer has put then follows it.
      this.#ownOf(next.value)
      version++
    }
    // What was there may have been removed.
    if (!(await this.#try(async () => await isCommit(this.#store, version)))) throw await this.#overtaken()
  }

  /** Commits that garbage is gone. */
  async #forget(versions: ReadonlySet<number>): Promise<void> {
    await this.#commit((state) => {
      const garbage = state.garbage.filter(({ version }) => !versions.has(version))
      if (garbage.length === state.garbage.length) return undefined
      return { ...state, version: state.version + 1, nonce: this.#surroundings.nonce(), garbage }
    })
  }

  /**
   * Advances the boundary, but for one generation, and removes what is below it. Not while the last advance has not settled:
   * otherwise none ever would.
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
   * The parts that are there and will not be removed. One that is old may have been found by a collection of the writer before, as an orphan that is to be removed; and this
   * writer has not been there long enough for that one to know of it.
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

  /** Reads, again if need be. */
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
    throw toFailure(failure, manifestKey(this.#state.version), `no answer to ${attempts} attempts to read`)
  }
}
