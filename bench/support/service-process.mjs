// The process of service.mjs: holds data, writes to it at a steady rate, answers requests about it
// over a loopback socket, and saves it with the requested method.

import { writeFile } from 'node:fs'
import { readFile, stat } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import v8 from 'node:v8'
import vm from 'node:vm'
import { Region, restore, snapshot } from 'stillframe'
import { engineOptions } from './engines.mjs'
import { madeData } from './made-data.mjs'
import { MIB } from './pages.mjs'
import { serveWords, sharedNow } from './probe.mjs'
import { quiet } from './quiet.mjs'
import { randomIntegers } from './random.mjs'

const FILL_PIECE = 16 * MIB
const UNMAPPING_MS = 500

v8.setFlagsFromString('--expose-gc')
/** Immediately frees what a method of saving has left to the garbage collector. */
const collectGarbage = vm.runInNewContext('gc')

let region
/** The complete data. */
let bytes
let words
let stopWriting

const publish = promisify(writeFile)

/**
 * Each method saves the data to a file, and returns how long the service stopped and how long it
 * took in total.
 */
const saves = {
  async stillframe({ engine, path, compression }) {
    const calledAt = performance.now()
    const shot = snapshot(region, path, { ...engineOptions[engine], ...(compression && { compression }) })
    const pauseMs = performance.now() - calledAt
    await shot.done
    return { pauseMs, durationMs: performance.now() - calledAt }
  },

  async 'fs.writeFile'({ path }) {
    const calledAt = performance.now()
    const copy = Buffer.allocUnsafeSlow(bytes.length)
    copy.set(bytes)
    const pauseMs = performance.now() - calledAt
    await publish(path, copy, { flush: true })
    return { pauseMs, durationMs: performance.now() - calledAt }
  },

  async 'v8.serialize'({ path }) {
    const calledAt = performance.now()
    const serialized = v8.serialize(bytes)
    const pauseMs = performance.now() - calledAt
    await publish(path, serialized, { flush: true })
    return { pauseMs, durationMs: performance.now() - calledAt }
  },
}

/**
 * Each method reads a file back, and returns when the first byte was readable and when all data was
 * there.
 */
const restores = {
  stillframe: async ({ path, options }) => {
    const calledAt = performance.now()
    const restored = await restore(path, options)
    const { buffer } = restored.regions.main
    const byte = new Uint8Array(buffer, Math.floor(buffer.byteLength / 2), 1)[0]
    const ms = performance.now() - calledAt
    restored.close()
    return { ms, byte }
  },

  'fs.readFile': async ({ path }) => {
    const calledAt = performance.now()
    const read = await readFile(path)
    return { ms: performance.now() - calledAt, byte: read[read.length >> 1] }
  },

  'v8.deserialize': async ({ path }) => {
    const calledAt = performance.now()
    const read = v8.deserialize(await readFile(path))
    return { ms: performance.now() - calledAt, byte: read[read.length >> 1] }
  },
}

const writeSteadily = (perSecond, seed) => {
  const random = randomIntegers(seed)
  const started = performance.now()
  let written = 0
  const timer = setInterval(() => {
    const due = Math.floor(((performance.now() - started) * perSecond) / 1000)
    for (; written < due; written++) {
      const at = 2 * random(words.length / 2)
      words[at] = written
      words[at + 1] = written
    }
  }, 1)
  return () => {
    clearInterval(timer)
    return (written * 1000) / (performance.now() - started)
  }
}

const functions = {
  /** Allocates the memory; returns the port on which it answers requests. */
  async hold({ memory, byteLength, seed }) {
    if (memory === 'region') region = Region.allocate(byteLength)
    const buffer = region?.buffer ?? Buffer.allocUnsafeSlow(byteLength).buffer
    bytes = new Uint8Array(buffer)
    words = new Uint32Array(buffer)
    const fill = madeData(seed)
    for (let at = 0; at < byteLength; at += FILL_PIECE) fill(bytes.subarray(at, at + FILL_PIECE))
    return serveWords(words)
  },

  startWriting({ perSecond, seed }) {
    stopWriting = writeSteadily(perSecond, seed)
  },

  /** Returns the number of words written per second. */
  stopWriting() {
    return stopWriting()
  },

  /** `beganAt` and `endedAt` are times shared by all processes. */
  async save({ way, ...options }) {
    const beganAt = sharedNow()
    const saved = await saves[way](options)
    const endedAt = sharedNow()
    const { blocks } = await stat(options.path)
    return { ...saved, beganAt, endedAt, fileBytes: blocks * 512 }
  },

  /** The state that a save should find: no threads and no garbage of the previous one. */
  async settle() {
    collectGarbage()
    // V8 unmaps large buffers on another thread; meanwhile, page tables must not change.
    await sleep(UNMAPPING_MS)
    await quiet()
  },

  async restore({ way, ...options }) {
    const restored = await restores[way](options)
    collectGarbage()
    return restored
  },
}

// No results are wanted any more.
process.once('disconnect', () => process.exit())

process.on('message', async ({ id, name, options }) => {
  try {
    process.send({ id, result: await functions[name](options) })
  } catch (error) {
    process.send({ id, error: error.stack })
  }
})
