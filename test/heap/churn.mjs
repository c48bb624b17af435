/**
 * Loads that keep V8 and the process busy in all the ways of a busy service at once, as a
 * background for forks.
 */

import { pbkdf2 } from 'node:crypto'
import { readFile } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { deflate } from 'node:zlib'
import { wasmModule } from './wasm-module.mjs'

/** Kinds of load. */
export const loads = /** @type {const} */ (['young', 'old', 'large', 'jit', 'wasm', 'pool', 'timers'])

/** Maximum time until a load yields to the event loop. */
const sliceMs = 4
const keptObjects = 20_000
const keptLarge = 4
const keptFunctions = 30

/**
 * Starts loads on this thread.
 *
 * @param {readonly string[]} kinds - a subset of {@link loads}.
 * @param {() => number} random
 * @param {() => void} afterSlice - called between two slices, on this thread.
 * @returns {() => void} stops the loads.
 */
export function startChurn(kinds, random, afterSlice) {
  let running = true
  const below = (/** @type {number} */ limit) => Math.floor(random() * limit)
  const has = (/** @type {string} */ kind) => kinds.includes(kind)

  /** @type {Map<number, object>} */
  const kept = new Map()
  /** @type {unknown[]} */
  const large = []
  /** @type {((n: number) => unknown)[]} */
  const functions = []
  let serial = 0

  const work = {
    young() {
      const made = []
      for (let i = 0; i < 1500; i++) made.push({ i, text: `young ${i}`, pair: [i, i + 0.5] })
      return made.length
    },
    old() {
      for (let i = 0; i < 300; i++) {
        const key = below(keptObjects)
        kept.set(key, { key, before: kept.get(key + 1), text: `old ${serial++}` })
        // Chains would keep everything alive.
        if (key % 8 === 0) kept.delete(key + 1)
      }
    },
    large() {
      // An array beyond V8's limit for ordinary pages, and memory outside its heap.
      large[below(keptLarge)] = new Array(40_000 + below(100_000)).fill(serial)
      large[keptLarge + below(keptLarge)] = new Uint8Array(100_000 + below(1_000_000)).fill(serial)
    },
    jit() {
      const source = `let x = n; for (let i = 0; i < 3000; i++) x = (x * ${below(1000)} + i) | 0; return [x, { x }]`
      const made = /** @type {(n: number) => unknown} */ (new Function('n', `/* ${serial++} */ ${source}`))
      functions[below(keptFunctions)] = made
      // Hot enough for each compiler tier. Then another type, which makes V8 discard the optimized
      // code.
      for (let i = 0; i < 8; i++) for (const each of functions) each?.(i)
      if (below(4) === 0) functions[below(keptFunctions)]?.(0.5 + serial)
    },
  }
  const slice = () => {
    if (!running) return
    const end = performance.now() + sliceMs
    do {
      for (const [kind, run] of Object.entries(work)) if (has(kind)) run()
    } while (performance.now() < end)
    afterSlice()
    setImmediate(slice)
  }
  setImmediate(slice)

  const compile = async () => {
    while (running) {
      const module = await WebAssembly.compile(
        wasmModule(random, { functions: 20 + below(80), operations: 50 + below(400) }),
      )
      const { exports } = await WebAssembly.instantiate(module)
      const runs = /** @type {((n: number) => number)[]} */ (Object.values(exports))
      // Until the optimizing compiler has compiled them a second time.
      for (let i = 0; i < 40; i++) for (const run of runs) run(i)
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
  }
  if (has('wasm')) void compile()

  if (has('pool')) {
    const bytes = new Uint8Array(200_000).map((_, i) => i * i)
    const again = (/** @type {(done: () => void) => void} */ task) => {
      const next = () => {
        if (running) setTimeout(() => task(next), 2)
      }
      next()
    }
    for (let i = 0; i < 2; i++) {
      again((done) => deflate(bytes, done))
      again((done) => pbkdf2('password', 'salt', 2000, 32, 'sha256', done))
      again((done) => readFile(fileURLToPath(import.meta.url), done))
    }
  }
  const timers = has('timers') ? Array.from({ length: 10 }, (_, i) => setInterval(() => serial++, i + 1)) : []

  return () => {
    running = false
    for (const timer of timers) clearInterval(timer)
  }
}
