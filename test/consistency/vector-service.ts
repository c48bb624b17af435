/** The example service as a process of its own, and a client that remembers its writes. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const program = fileURLToPath(new URL('../../examples/vector-service/server.mjs', import.meta.url))

export interface Status {
  sequence: number
  used: number
  capacity: number
  dimensions: number
  restoreMs?: number
  frames: {
    taken: number
    failed: number
    capturing: boolean
    last?: { id: string; sequence: number }
  }
}

/** A running service. */
export class Service {
  readonly #process: ChildProcess
  readonly #origin: string

  private constructor(process: ChildProcess, origin: string) {
    this.#process = process
    this.#origin = origin
  }

  /** Starts a service and waits until it listens, for a minute at most. */
  static async start(environment: Record<string, string>): Promise<Service> {
    const child = spawn(process.execPath, [program], {
      env: { ...process.env, ...environment, PORT: '0' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    try {
      const signal = AbortSignal.timeout(60_000)
      const [line] = (await Promise.race([
        once(createInterface({ input: child.stdout }), 'line', { signal }),
        once(child, 'exit').then(([status]) => Promise.reject(new Error(`the service ended: ${status}`))),
      ])) as [string]
      return new Service(child, `http://127.0.0.1:${/port (\d+)/.exec(line)?.[1]}`)
    } catch (error) {
      child.kill('SIGKILL')
      throw error
    }
  }

  /** Ends the service and waits for it. Returns the exit status; null if the signal ended it. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return this.#process.exitCode
    const exit = once(this.#process, 'exit') as Promise<[number | null]>
    this.#process.kill(signal)
    return (await exit)[0]
  }

  async request(method: string, path: string, body?: string | Uint8Array): Promise<unknown> {
    const headers = typeof body === 'object' ? { 'content-type': 'application/octet-stream' } : {}
    const response = await fetch(this.#origin + path, { method, headers, body: body ?? null })
    const content = await response.json()
    if (response.status !== 200) throw new Error(`${method} ${path}: ${JSON.stringify(content)}`)
    return content
  }

  status(): Promise<Status> {
    return this.request('GET', '/status') as Promise<Status>
  }

  /** Polls the status until `wish` accepts it; fails after a minute. */
  async until(wish: (status: Status) => boolean): Promise<Status> {
    const deadline = Date.now() + 60_000
    for (;;) {
      const status = await this.status()
      if (wish(status)) return status
      if (Date.now() > deadline) throw new Error(`still waiting, with ${JSON.stringify(status)}`)
      await new Promise((resolve) => setTimeout(resolve, 2))
    }
  }
}

/** Contents of a version of a slot: no two are equal, and floats represent them exactly. */
export function fillVector(vector: Float32Array, slot: number, version: number): void {
  vector[0] = slot
  vector[1] = version
  for (let i = 2; i < vector.length; i++) vector[i] = (slot * 31 + version * 17 + i * i) % 65521
}

/** One write to consecutive slots. Its version is its index in the journal. */
interface Entry {
  readonly first: number
  readonly count: number
  /** Sequence number of the last vector. */
  readonly sequence: number
}

/**
 * All writes to a service, and the state that follows from them. Only one write may be in progress
 * at a time, so that the sequence numbers are known even for a write that got no answer.
 */
export class Journal {
  readonly #dimensions: number
  #entries: Entry[] = []
  #answered = 0

  constructor(dimensions: number) {
    this.#dimensions = dimensions
  }

  /** Sequence number of the last write that was answered. */
  get answeredSequence(): number {
    return this.#answered
  }

  /**
   * Writes new contents to slots. Throws if the service is gone; the write may have been applied in
   * this case.
   */
  async write(service: Service, first: number, count: number): Promise<void> {
    const version = this.#entries.length
    const sequence = (this.#entries.at(-1)?.sequence ?? 0) + count
    this.#entries.push({ first, count, sequence })
    const vectors = new Float32Array(count * this.#dimensions)
    for (let i = 0; i < count; i++) {
      fillVector(vectors.subarray(i * this.#dimensions, (i + 1) * this.#dimensions), first + i, version)
    }
    const body = new Uint8Array(vectors.buffer)
    const answer = (await service.request('PUT', `/vectors/${first}`, body)) as { sequence: number }
    if (answer.sequence !== sequence) throw new Error(`write ${sequence} was counted as ${answer.sequence}`)
    this.#answered = sequence
  }

  /**
   * Forgets later writes: the service was killed and restarted from this write, so they never
   * happened.
   */
  forgetAfter(sequence: number): void {
    this.#entries = this.#entries.filter((entry) => entry.sequence <= sequence)
    this.#answered = sequence
  }

  /**
   * For each slot after the write with this sequence number: its version (-1 if none), and the
   * sequence number that wrote it.
   */
  stateAt(sequence: number, capacity: number): { versions: Int32Array; sequences: Float64Array } {
    const versions = new Int32Array(capacity).fill(-1)
    const sequences = new Float64Array(capacity)
    let next = 1
    for (const [version, { first, count }] of this.#entries.entries()) {
      for (let slot = first; slot < first + count && next <= sequence; slot++, next++) {
        versions[slot] = version
        sequences[slot] = next
      }
    }
    if (next <= sequence) throw new Error(`only ${next - 1} vectors were written, not ${sequence}`)
    return { versions, sequences }
  }
}
