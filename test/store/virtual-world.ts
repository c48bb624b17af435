/**
 * A world in which nothing happens by itself: calls, replies and timers wait until a seeded
 * scheduler lets one of them proceed. Time is virtual. The code that runs in it is real; it must
 * not wait for anything else.
 */

import type { Surroundings } from '../../lib/archive/remote/surroundings.js'
import { Random } from '../support/random.mjs'

/** An event that an actor waits for. */
interface Pending {
  readonly actor: Actor
  readonly what: string
  readonly dueMs: number
  /** True for a step through the network, which proceeds even without its sender. */
  readonly isNetwork: boolean
  go(): void
}

/** A process as the scheduler sees it. */
export interface Actor {
  readonly name: string
  /**
   * Share of the turns, relative to other actors. It is redrawn again and again, so that some
   * actors sleep for long.
   */
  weight: number
  killed: boolean
  /** The actor is killed after this number of turns. */
  turnsLeft: number
  onKilled(): void
}

/** More than any schedule needs. A schedule that takes more is in an endless loop. */
const maxSteps = 30_000

const startMs = 1_700_000_000_000

export class VirtualWorld {
  readonly random: Random
  readonly #trace: [ms: number, text: string][] = []
  nowMs = startMs
  steps = 0
  readonly #actors: Actor[] = []
  readonly #pending: Pending[] = []
  #running = 0
  #names = 0
  #failure: unknown

  constructor(seed: number) {
    this.random = new Random(seed)
  }

  /** True in `percent` of 100 calls. */
  chance(percent: number): boolean {
    return this.random.below(1000) < percent * 10
  }

  oneOf<Value>(values: readonly Value[]): Value {
    return values[this.random.below(values.length)] as Value
  }

  actor(name: string): Actor {
    const actor = { name, weight: 1, killed: false, turnsLeft: Number.POSITIVE_INFINITY, onKilled() {} }
    this.#actors.push(actor)
    return actor
  }

  /** Starts the work of an actor. If it rejects, the schedule has failed. */
  start(work: () => Promise<void>): void {
    this.#running++
    work().then(
      () => this.#running--,
      (error: unknown) => {
        this.#running--
        this.fail(error)
      },
    )
  }

  /** Only the first failure is reported. */
  fail(error: unknown): void {
    this.#failure ??= error
  }

  /** Stops the actor. Requests that it has sent may still arrive. */
  #kill(actor: Actor): void {
    this.note(`${actor.name} is killed`)
    actor.killed = true
    actor.onKilled()
    // Its promises are never settled.
    this.#running--
  }

  note(text: string): void {
    this.#trace.push([this.nowMs, text])
    if (this.#trace.length > 4000) this.#trace.splice(0, 2000)
  }

  /** The last events. */
  traceOf(count: number): string {
    const lines = this.#trace.slice(-count)
    return lines.map(([ms, text]) => `${((ms - startMs) / 1000).toFixed(1)} s  ${text}`).join('\n')
  }

  /** Waits until the scheduler lets the actor proceed. */
  turn(
    actor: Actor,
    what: string,
    { delayMs = 0, isNetwork = false, signal }: TurnOptions = {},
  ): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve()
      const onAbort = (): void => {
        this.#pending.splice(this.#pending.indexOf(pending), 1)
        resolve()
      }
      const go = (): void => {
        signal?.removeEventListener('abort', onAbort)
        resolve()
      }
      const pending = { actor, what, dueMs: this.nowMs + delayMs, isNetwork, go }
      this.#pending.push(pending)
      signal?.addEventListener('abort', onAbort, { once: true })
    })
  }

  surroundingsOf(actor: Actor): Surroundings {
    return {
      monotonicMs: () => this.nowMs,
      sleep: (ms, { signal } = {}) => this.turn(actor, 'sleeps', { delayMs: Math.max(ms, 1), signal }),
      nonce: () => `${actor.name}-${this.#names++}`,
      random: () => this.random.word() / 2 ** 32,
    }
  }

  /** Runs until all started work has ended. Requests that are still on their way remain there. */
  async run(): Promise<void> {
    for (;;) {
      await quiet()
      if (this.#failure !== undefined) throw this.#failure
      if (this.#running === 0) return
      if (this.#pending.length === 0) throw new Error('everybody waits for something that never comes')
      if (this.steps++ > maxSteps) throw new Error('the schedule goes round in circles')
      this.#step()
    }
  }

  /** Delivers all requests that are still on their way. */
  async flush(): Promise<void> {
    for (;;) {
      await quiet()
      const index = this.#pending.findIndex(({ isNetwork }) => isNetwork)
      if (index < 0) return
      this.#letGo(index)
    }
  }

  #step(): void {
    if (this.chance(3)) {
      for (const actor of this.#actors) actor.weight = this.oneOf([0, 1, 1, 5, 20])
    }
    // Normally a sleeper sleeps for its whole time.
    const due = this.#pending.filter(({ dueMs }) => dueMs <= this.nowMs)
    const next = due.length > 0 && !this.chance(2) ? this.#draw(due) : this.#soonest()
    this.nowMs = Math.max(this.nowMs + this.random.below(100), next.dueMs)
    this.#letGo(this.#pending.indexOf(next))
  }

  #draw(pending: readonly Pending[]): Pending {
    const sum = pending.reduce((total, { actor }) => total + actor.weight, 0)
    if (sum === 0) return this.oneOf(pending)
    let left = this.random.below(sum)
    for (const one of pending) {
      left -= one.actor.weight
      if (left < 0) return one
    }
    throw new Error('unreachable')
  }

  /** The event that is due first; occasionally another one, as if the others were very slow. */
  #soonest(): Pending {
    const later = this.#pending.filter(({ dueMs }) => dueMs > this.nowMs)
    if (later.length === 0 || this.chance(10)) return this.oneOf(this.#pending)
    return later.reduce((first, one) => (one.dueMs < first.dueMs ? one : first))
  }

  #letGo(index: number): void {
    const [pending] = this.#pending.splice(index, 1)
    if (pending === undefined) return
    if (--pending.actor.turnsLeft === 0) this.#kill(pending.actor)
    // A request that has been sent proceeds without its sender, unless it was lost together with
    // it.
    if (pending.actor.killed && !(pending.isNetwork && this.chance(50))) return
    this.note(`${pending.actor.name} ${pending.what}`)
    pending.go()
  }
}

interface TurnOptions {
  readonly delayMs?: number
  readonly isNetwork?: boolean
  readonly signal?: AbortSignal | undefined
}

/** Waits until all promises that can be settled are settled. */
function quiet(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
