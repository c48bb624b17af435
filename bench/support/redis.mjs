// A private Redis server: on a socket in a temporary directory, without a port, and ended with the
// benchmark.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { rename } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { madeData } from './made-data.mjs'
import { MIB } from './pages.mjs'
import { READ } from './probe.mjs'

/** With its header, a value fills an allocation of 16 KiB completely. */
export const VALUE_BYTES = 16 * 1024 - 16
const FILE = 'dump.rdb'
const PLACE_BYTES = 16 * 1024
const KEYS_AT_ONCE = 512
const START_PATIENCE_MS = 120_000
const SAVE_PATIENCE_MS = 600_000
// With more unanswered requests than this the server cannot keep up, and more requests would only
// fill memory.
const MOST_UNANSWERED = 10_000
// Maximum length of a socket path, in bytes.
const LONGEST_SOCKET_PATH = 107

const field = (info, name) => new RegExp(`^${name}:(.*?)\r?$`, 'm').exec(info)?.[1]

export class RedisServer {
  #directory
  #socket
  #child
  #client
  #probes
  #stop = () => this.#child?.kill('SIGKILL')

  constructor(directory) {
    this.#directory = directory
    this.#socket = join(directory, 'redis.sock')
    if (Buffer.byteLength(this.#socket) > LONGEST_SOCKET_PATH)
      throw new Error('the path of the directory is too long for a socket')
    process.once('exit', this.#stop).once('SIGINT', this.#stop).once('SIGTERM', this.#stop)
  }

  get pid() {
    return this.#child.pid
  }

  /**
   * Starts the server, from a file if given; returns the milliseconds until it answers. The server
   * owns the file from then on.
   */
  async start(path) {
    if (path !== undefined) await rename(path, join(this.#directory, FILE))
    const started = performance.now()
    const options = {
      port: 0,
      unixsocket: this.#socket,
      dir: this.#directory,
      dbfilename: FILE,
      save: '',
      appendonly: 'no',
      daemonize: 'no',
      // The server checks this often per second whether its child has ended, which limits the
      // resolution of the duration of a save.
      hz: 100,
    }
    const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])
    this.#child = spawn('redis-server', args, { stdio: 'ignore' })
    await once(this.#child, 'spawn')
    const end = started + START_PATIENCE_MS
    while (!(await this.#answers())) {
      if (this.#child.exitCode !== null)
        throw new Error(`redis-server ended by status ${this.#child.exitCode}`)
      if (performance.now() > end) throw new Error('redis-server does not answer')
      await sleep(2)
    }
    const ms = performance.now() - started
    this.#client = this.#connection()
    this.#probes = this.#connection()
    await Promise.all([this.#client.connect(), this.#probes.connect()])
    return ms
  }

  #connection() {
    const client = new Redis({
      path: this.#socket,
      lazyConnect: true,
      retryStrategy: () => null,
      enableReadyCheck: false,
      maxRetriesPerRequest: 0,
    })
    client.on('error', () => {}) // the failing command reports the error as well
    return client
  }

  async #answers() {
    const client = this.#connection()
    try {
      await client.connect()
      return (await client.ping()) === 'PONG'
    } catch {
      return false // no socket yet, or still loading
    } finally {
      client.disconnect()
    }
  }

  /** The same bytes as in a region of this size, without 16 of every 16 KiB. */
  async fill(byteLength, seed) {
    const fill = madeData(seed)
    const bytes = Buffer.alloc(MIB)
    const keys = byteLength / PLACE_BYTES
    let key = 0
    while (key < keys) {
      const pipeline = this.#client.pipeline()
      const end = Math.min(keys, key + KEYS_AT_ONCE)
      while (key < end) {
        fill(bytes)
        for (let at = 0; at < bytes.length && key < end; at += PLACE_BYTES) {
          pipeline.set(`key:${key++}`, Buffer.from(bytes.subarray(at, at + VALUE_BYTES)))
        }
      }
      await pipeline.exec()
    }
  }

  configure(name, value) {
    return this.#client.config('SET', name, value)
  }

  /**
   * Saves once in a forked child. Returns how long the fork blocked the server, and the total
   * duration.
   */
  async save(path) {
    const started = performance.now()
    await this.#client.bgsave()
    const end = started + SAVE_PATIENCE_MS
    let info
    do {
      await sleep(3)
      info = await this.#client.info('persistence')
      if (performance.now() > end) throw new Error('BGSAVE does not end')
    } while (field(info, 'rdb_bgsave_in_progress') !== '0')
    const durationMs = performance.now() - started
    const status = field(info, 'rdb_last_bgsave_status')
    if (status !== 'ok') throw new Error(`BGSAVE ended with ${status}`)
    const pauseMs = Number(field(await this.#client.info('stats'), 'latest_fork_usec')) / 1000
    await rename(join(this.#directory, FILE), path)
    return { pauseMs, durationMs }
  }

  /**
   * Writes 8 bytes at random places, `perSecond` times per second, until the returned function is
   * called.
   */
  write(perSecond, random, byteLength) {
    const started = performance.now()
    const value = Buffer.alloc(8, 0x5a)
    let sent = 0
    let answered = 0
    const timer = setInterval(() => {
      const due = Math.floor(((performance.now() - started) * perSecond) / 1000)
      if (sent >= due || sent - answered > MOST_UNANSWERED) return
      const pipeline = this.#client.pipeline()
      const count = due - sent
      sent = due
      for (let i = 0; i < count; i++) {
        const [key, offset] = this.#place(random(byteLength / 8))
        pipeline.setrange(key, offset, value)
      }
      const done = () => {
        answered += count
      }
      pipeline.exec().then(done, done)
    }, 1)
    return () => {
      clearInterval(timer)
      return (answered * 1000) / (performance.now() - started)
    }
  }

  /** Like the services of `probe.mjs`. */
  ask(what, where) {
    const [key, offset] = this.#place(where)
    return what === READ
      ? this.#probes.getrange(key, offset, offset + 7)
      : this.#probes.setrange(key, offset, '12345678')
  }

  /**
   * Key and offset of an 8-byte word. Words in the omitted 16 bytes map to the start of the value.
   */
  #place(word) {
    const at = word * 8
    const offset = at % PLACE_BYTES
    return [`key:${Math.floor(at / PLACE_BYTES)}`, offset < VALUE_BYTES ? offset : 0]
  }

  async stop() {
    this.#client?.disconnect()
    this.#probes?.disconnect()
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  }

  async close() {
    await this.stop()
    process.off('exit', this.#stop).off('SIGINT', this.#stop).off('SIGTERM', this.#stop)
  }
}
