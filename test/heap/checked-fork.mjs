/**
 * Forks with a check of the resulting file: it must be complete, and show one instant between the
 * call and its return.
 *
 * Every turn rewrites the whole state with new objects, so a file that shows two turns is torn. In
 * addition, each thread increments two shared counters on separate pages, the first before the
 * second. A file that contains a second increment without the first is torn as well.
 */

import assert from 'node:assert/strict'
import { readFileSync, rmSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import { GCProfiler } from 'node:v8'
import { ForkJob, readValues, snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import { wasmModule } from './wasm-module.mjs'

/** The kinds of output to request from a copy. */
export const kinds = /** @type {const} */ (['json', 'values', 'heap'])
/** @typedef {typeof kinds[number]} Kind */

const cells = 500
/** Distance between shared counters, in elements: one page each. */
const stride = 4096 / Int32Array.BYTES_PER_ELEMENT

/** Allocates the counters for this number of threads. @param {number} threads */
export function sharedCounters(threads) {
  return new Int32Array(new SharedArrayBuffer(threads * 2 * stride * Int32Array.BYTES_PER_ELEMENT))
}

/** Failures of first attempts in this thread, until they are taken from here. @type {string[]} */
const failedAttempts = []
watchAttempts()

/** All state of a thread that its files show. */
export class CheckedState {
  #turn = 0
  /** @type {{ turn: number, text: string }[]} */
  #cells = []
  /** @type {Map<string, { turn: number }>} */
  #map = new Map()
  /** Marks to find by name in heap snapshots. @type {Record<string, boolean>} */
  marks = {}
  #ballast
  #counters
  #thread

  /**
   * @param {Int32Array} counters - made by {@link sharedCounters}.
   * @param {number} thread - index of the thread, from 0.
   */
  constructor(counters, thread) {
    this.#counters = counters
    this.#thread = thread
    this.#ballast = Array.from({ length: 6000 }, (_, i) => ({ i, name: `ballast ${i}`, list: [i, i / 2] }))
    this.advance()
  }

  /** Advances to the next turn. */
  advance() {
    const turn = ++this.#turn
    Atomics.add(this.#counters, this.#thread * 2 * stride, 1)
    for (let i = 0; i < cells; i++) {
      this.#cells[i] = { turn, text: `cell ${i} of turn ${turn}` }
      this.#map.set(`cell ${i}`, { turn })
    }
    Atomics.add(this.#counters, (this.#thread * 2 + 1) * stride, 1)
  }

  /**
   * Forks, changes everything at once, and checks the file.
   *
   * @param {Kind} kind
   * @param {string} directory
   * @param {import('stillframe/heap').ForkOptions} options
   * @param {(job: ForkJob) => void} [onStart]
   */
  async fork(kind, directory, options, onStart) {
    const file = path.join(directory, `${this.#thread}-${this.#turn}-${kind}`)
    const turn = this.#turn
    this.marks = { [`mark ${turn} before`]: true }
    const job =
      kind === 'heap'
        ? writeHeapSnapshot(file, options)
        : snapshotState(file, (out) => this.#write(kind, out), options)
    this.advance()
    this.marks = { [`mark ${turn} after`]: true }
    onStart?.(job)
    const result = await job.done
    const died = failedAttempts.splice(0)
    // A second attempt shows a later instant.
    const range = { from: turn, to: result.attempts === 1 ? turn : this.#turn }
    const seen =
      kind === 'heap' ? checkHeap(file, turn, result.attempts) : await this.#check(kind, file, range)
    rmSync(file)
    return { ...result, ...seen, kind, died }
  }

  /**
   * Runs in the copy.
   *
   * @param {Kind} kind
   * @param {import('stillframe/heap').StateWriter} out
   */
  #write(kind, out) {
    const profiler = new GCProfiler()
    profiler.start()
    const state = {
      turn: this.#turn,
      cells: this.#cells,
      map: [...this.#map],
      counters: Array.from({ length: this.#counters.length / stride }, (_, i) =>
        Atomics.load(this.#counters, i * stride),
      ),
    }
    // Garbage, new functions and a module: work for which a copy without V8's threads could wait
    // forever.
    const kept = []
    for (let i = 0; i < 4; i++) kept.push(JSON.parse(JSON.stringify(this.#ballast)))
    for (let i = 0; i < 300_000; i++) kept[4 + (i % 5000)] = { i, half: i / 2, last: [i] }
    for (let i = 0; i < 4; i++) kept[5] = new Array(1_000_000).fill(i)
    for (let i = 0; i < 10; i++) {
      const hot = new Function('n', `/* ${this.#turn} ${i} */ let x = 0; while (n--) x += n % 7; return x`)
      for (let j = 0; j < 20; j++) hot(2000)
    }
    // WebAssembly is missing when V8 runs without a compiler.
    if (typeof WebAssembly !== 'undefined') {
      const module = new WebAssembly.Module(wasmModule(Math.random, { functions: 10, operations: 50 }))
      const { run0 } = new WebAssembly.Instance(module).exports
      for (let j = 0; j < 2000; j++) /** @type {(n: number) => number} */ (run0)(j)
    }

    const records = [state, this.#ballast, { gcs: profiler.stop()?.statistics.map(({ gcType }) => gcType) }]
    for (const record of records) {
      if (kind === 'values') out.value(record)
      else out.write(`${JSON.stringify(record)}\n`)
    }
  }

  /**
   * @param {Kind} kind
   * @param {string} file
   * @param {{ from: number, to: number }} range
   */
  async #check(kind, file, range) {
    const records = []
    if (kind === 'values') for await (const value of readValues(file)) records.push(value)
    else for (const line of readFileSync(file, 'utf8').trimEnd().split('\n')) records.push(JSON.parse(line))
    assert.equal(records.length, 3)
    const [state, ballast, { gcs }] = records
    assert.ok(state.turn >= range.from && state.turn <= range.to, `turn ${state.turn}, not of the call`)
    assert.equal(state.cells.length, cells)
    assert.equal(state.map.length, cells)
    state.cells.forEach((/** @type {{ turn: number, text: string }} */ cell, /** @type {number} */ i) => {
      assert.deepEqual(cell, { turn: state.turn, text: `cell ${i} of turn ${state.turn}` })
    })
    for (const [, { turn }] of state.map) assert.equal(turn, state.turn)
    assert.deepEqual(ballast, this.#ballast)
    for (let i = 0; i < state.counters.length; i += 2) {
      const ahead = state.counters[i] - state.counters[i + 1]
      assert.ok(ahead === 0 || ahead === 1, `shared counters are torn: ${state.counters}`)
    }
    return { gcs: /** @type {string[]} */ (gcs) }
  }
}

/**
 * @param {string} file
 * @param {number} turn
 * @param {number} attempts
 */
function checkHeap(file, turn, attempts) {
  const { snapshot, nodes, edges, strings } = JSON.parse(readFileSync(file, 'utf8'))
  assert.equal(nodes.length, snapshot.node_count * snapshot.meta.node_fields.length)
  assert.equal(edges.length, snapshot.edge_count * snapshot.meta.edge_fields.length)
  const texts = new Set(strings)
  assert.equal(texts.has(`mark ${turn} before`), attempts === 1, 'the mark of the call is in the file')
  assert.equal(texts.has(`mark ${turn} after`), attempts > 1, 'no later mark is')
  return { gcs: /** @type {string[]} */ ([]) }
}

/** Makes the addon report failed attempts, including those followed by another attempt. */
function watchAttempts() {
  const { cache } = createRequire(import.meta.url)
  const exports = Object.values(cache).find((module) => module?.exports?.ForkJob !== undefined)?.exports
  if (exports === undefined) throw new Error('the heap addon is not loaded')
  const { ForkJob } = exports
  exports.ForkJob = class extends ForkJob {
    /**
     * @param {unknown} plan
     * @param {(failure: Error & { failure: string } | null, result: unknown) => void} onEnd
     */
    constructor(plan, onEnd) {
      super(plan, (/** @type {any} */ failure, /** @type {unknown} */ result) => {
        if (failure) failedAttempts.push(`${failure.failure}: ${failure.message}`)
        onEnd(failure, result)
      })
    }
  }
}
