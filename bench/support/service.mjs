// The process that holds the data of `versus` and answers requests about it while it is saved: see
// service-process.mjs.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(new URL('./service-process.mjs', import.meta.url))
const CALL_PATIENCE_MS = 600_000

export class Service {
  #child
  #calls = 0
  /** By number of the call: the receiver of its answer. */
  #waiting = new Map()
  #gone

  /**
   * Starts a process with its own copy of `data`: `{ memory: 'region' | 'buffer', byteLength, seed
   * }`.
   */
  static async start(data) {
    const service = new Service()
    service.#child = fork(entry, { serialization: 'advanced' })
    service.#child.on('message', (answer) => service.#onAnswer(answer))
    service.#gone = once(service.#child, 'exit').then(([status, signal]) => {
      service.#fail(new Error(`the service ended by ${signal ?? `status ${status}`}`))
    })
    service.port = await service.call('hold', data)
    return service
  }

  get pid() {
    return this.#child.pid
  }

  /** Calls a function of the service. Resolves to its result. */
  call(name, options) {
    return new Promise((resolve, reject) => {
      const id = this.#calls++
      const timer = setTimeout(() => {
        this.#waiting.delete(id)
        reject(new Error(`${name} took longer than ${CALL_PATIENCE_MS / 1000} s`))
      }, CALL_PATIENCE_MS)
      this.#waiting.set(id, { resolve, reject, timer })
      this.#child.send({ id, name, options })
    })
  }

  #onAnswer({ id, result, error }) {
    const waiting = this.#waiting.get(id)
    if (waiting === undefined) return
    this.#waiting.delete(id)
    clearTimeout(waiting.timer)
    if (error === undefined) waiting.resolve(result)
    else waiting.reject(new Error(error))
  }

  #fail(error) {
    for (const { reject, timer } of this.#waiting.values()) {
      clearTimeout(timer)
      reject(error)
    }
    this.#waiting.clear()
  }

  async close() {
    this.#child.kill('SIGKILL')
    await this.#gone
  }
}
