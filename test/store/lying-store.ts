/**
 * A store with the faults of real stores, on top of an exact store. The fate of each call is drawn
 * from a seed: replies that are lost after success; requests that are lost, refused, made twice, or
 * arrive long after their sender has given up; truncated bodies; lists that lag. Each process has
 * its own lying store around the same exact store.
 */

import {
  type FetchedObject,
  type GetOptions,
  type ListedObject,
  type ObjectStore,
  type PutOptions,
  type StoredObject,
  storeFailure,
} from '../../lib/store/store.js'
import { MemoryStore } from './memory-store.js'
import type { Actor, VirtualWorld } from './virtual-world.js'

type Entry = { body: Uint8Array; lastModifiedMs: number }
export type ObserveChange = (key: string, before: Entry | undefined, after: Entry | undefined) => void

/** The exact store, with a history of its changes for lagging lists. */
export class ExactStore extends MemoryStore {
  readonly #world: VirtualWorld
  readonly #onChange: ObserveChange
  /** Recent changes, with the previous entries. */
  #changes: { atMs: number; key: string; before: Entry | undefined }[] = []

  /** @param unitMs - resolution of the times that it reports. Stores report whole seconds. */
  constructor(world: VirtualWorld, unitMs: number, onChange: ObserveChange) {
    super({ now: () => Math.floor(world.nowMs / unitMs) * unitMs })
    this.#world = world
    this.#onChange = onChange
  }

  override put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }> {
    // The store acts at the time of the call.
    return this.#noting(key, () => super.put(key, body, options))
  }

  override delete(key: string): Promise<void> {
    return this.#noting(key, () => super.delete(key))
  }

  /** The list as it was `lagMs` ago. */
  listed(prefix: string, lagMs: number): ListedObject[] {
    const objects = new Map(this.objects)
    for (const { atMs, key, before } of [...this.#changes].reverse()) {
      if (atMs < this.#world.nowMs - lagMs) break
      if (before === undefined) objects.delete(key)
      else objects.set(key, before)
    }
    return [...objects]
      .filter(([key]) => key.startsWith(prefix))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, { body, lastModifiedMs }]) => {
        return { key, size: body.length, lastModified: new Date(lastModifiedMs) }
      })
  }

  #noting<Result>(key: string, change: () => Promise<Result>): Promise<Result> {
    const before = this.objects.get(key)
    const result = change()
    const after = this.objects.get(key)
    if (before !== after) {
      this.#changes.push({ atMs: this.#world.nowMs, key, before })
      if (this.#changes.length > 1000) this.#changes = this.#changes.slice(-500)
      this.#onChange(key, before, after)
    }
    return result
  }
}

export interface Lies {
  /** Percentage of calls that do not succeed normally. */
  percent: number
  /** Maximum lag of lists, in milliseconds. */
  lagMs: number
}

const fates = [
  'reply lost',
  'reply lost',
  'request lost',
  'refused',
  'made twice',
  'made again later',
  'late',
  'slow',
  'cut',
] as const
/** A delete that arrives late is worse than any other late call. */
const fatesOfDelete = ['late', 'made again later', 'reply lost', 'request lost', 'slow'] as const

/**
 * Minimum number of requests for one object from one corrupted answer to the next. More would look
 * like damage.
 */
const patience = 12
type Fate = (typeof fates)[number] | 'well'

export class LyingStore implements ObjectStore {
  readonly #exact: ExactStore
  readonly #world: VirtualWorld
  readonly #actor: Actor
  readonly #network: Actor
  readonly #lies: Lies
  /** Number of requests for each key since its last corrupted body. */
  readonly #sinceCut = new Map<string, number>()
  #outage = 0

  /** @param network - performs requests whose sender has given up. */
  constructor(exact: ExactStore, world: VirtualWorld, actor: Actor, network: Actor, lies: Lies) {
    this.#exact = exact
    this.#world = world
    this.#actor = actor
    this.#network = network
    this.#lies = lies
  }

  async put(key: string, body: Uint8Array, options?: PutOptions): Promise<{ etag: string }> {
    return await this.#call('put', key, () => this.#exact.put(key, body, options))
  }

  async get(key: string, options?: GetOptions): Promise<FetchedObject> {
    return await this.#call('get', key, () => this.#exact.get(key, options))
  }

  async head(key: string): Promise<StoredObject | undefined> {
    return await this.#call('head', key, () => this.#exact.head(key))
  }

  async *list(prefix: string): AsyncGenerator<ListedObject> {
    const lagMs = this.#world.chance(50) ? this.#world.random.below(this.#lies.lagMs + 1) : 0
    yield* await this.#call('list', prefix, async () => this.#exact.listed(prefix, lagMs))
  }

  async delete(key: string): Promise<void> {
    await this.#call('delete', key, () => this.#exact.delete(key))
  }

  async upload(key: string, stream: AsyncIterable<Uint8Array>): Promise<{ etag: string; size: number }> {
    const chunks: Uint8Array[] = []
    for await (const chunk of stream) chunks.push(Uint8Array.from(chunk))
    const body = Buffer.concat(chunks)
    const { etag } = await this.#call('upload', key, () => this.#exact.put(key, body))
    return { etag, size: body.length }
  }

  async #call<Result>(method: string, key: string, apply: () => Promise<Result>): Promise<Result> {
    const world = this.#world
    const fate = this.#fateOf(method, key)
    const what = `${method} ${key}`
    const delayMs = fate === 'slow' ? world.random.below(120_000) : 0
    if (fate === 'late') {
      this.#later(what, apply)
      await world.turn(this.#actor, `${what}: gives up waiting`)
      throw lost(key, 'no answer came in time')
    }
    await world.turn(this.#actor, `${what} (${fate})`, { isNetwork: true, delayMs })
    if (fate === 'request lost') return await this.#broken(what, key)
    if (fate === 'refused') {
      await world.turn(this.#actor, `${what}: is refused`)
      throw storeFailure(
        key,
        world.oneOf(['409 ConditionalRequestConflict', '503 SlowDown', '500 InternalError']),
      )
    }
    // Nobody receives the answer to the first request.
    if (fate === 'made twice') await apply().catch(() => {})
    if (fate === 'made again later') this.#later(what, apply)
    const outcome = apply().then(
      (result) => () => (fate === 'cut' ? cut(result, world) : result),
      (error: unknown) => () => {
        throw error
      },
    )
    if (fate === 'reply lost') return await this.#broken(what, key)
    await world.turn(this.#actor, `${what}: gets the answer`)
    return (await outcome)()
  }

  #fateOf(method: string, key: string): Fate {
    if (this.#isOut()) return this.#world.oneOf(['reply lost', 'request lost', 'late'])
    const possible = method === 'delete' ? fatesOfDelete : fates
    const fate: Fate = this.#world.chance(this.#lies.percent) ? this.#world.oneOf(possible) : 'well'
    if (method !== 'get') return fate === 'cut' ? 'well' : fate
    const since = (this.#sinceCut.get(key) ?? patience) + 1
    const isCut = fate === 'cut' && since > patience
    this.#sinceCut.set(key, isCut ? 0 : since)
    return fate === 'cut' && !isCut ? 'well' : fate
  }

  /** True during an outage, when hardly any answer gets through. */
  #isOut(): boolean {
    if (this.#outage > 0) this.#outage--
    else if (this.#world.chance(this.#lies.percent / 20)) this.#outage = 5 + this.#world.random.below(20)
    return this.#outage > 0
  }

  async #broken(what: string, key: string): Promise<never> {
    await this.#world.turn(this.#actor, `${what}: the connection breaks`)
    throw lost(key, 'the connection was reset')
  }

  #later<Result>(what: string, apply: () => Promise<Result>): void {
    const delayMs = this.#world.chance(50) ? 0 : this.#world.random.below(1_000_000)
    void this.#world
      .turn(this.#network, `${what} (late)`, { isNetwork: true, delayMs })
      .then(apply)
      .catch(() => {})
  }
}

function lost(key: string, message: string): Error {
  return storeFailure(key, message, Object.assign(new Error(message), { code: 'ECONNRESET' }))
}

/** Silently removes bytes from the end of a body, or changes its last byte. */
function cut<Result>(result: Result, world: VirtualWorld): Result {
  const { body } = (result ?? {}) as { body?: Uint8Array }
  if (body === undefined || body.length === 0) return result
  if (world.chance(50)) return { ...result, body: body.subarray(0, world.random.below(body.length)) }
  const changed = Uint8Array.from(body)
  changed[body.length - 1] = (changed[body.length - 1] as number) ^ 1
  return { ...result, body: changed }
}
