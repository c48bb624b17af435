#!/usr/bin/env node
// Takes one snapshot and restores it with every engine that this machine supports, and saves some
// JavaScript state: the shortest proof that a build or an installation works. It does not test
// promises; those tests are in test/.
//
//   node scripts/smoke.mjs [MODULE] [--heap] [--all]
//
// MODULE is a path to a built index.js, or a package name (default: stillframe). stillframe/heap is
// skipped if it has no addon for this version of Node; with --heap that is a failure. With --all,
// so is an engine that cannot be used here.

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'

const { values: options, positionals } = parseArgs({
  options: { heap: { type: 'boolean' }, all: { type: 'boolean' } },
  allowPositionals: true,
})
const [wanted = 'stillframe'] = positionals
const built = existsSync(wanted)
const { Region, capabilities, restore, snapshot } = await import(
  built ? pathToFileURL(path.resolve(wanted)).href : wanted
)
const heap = await import(
  built ? pathToFileURL(path.resolve(wanted, '../heap/index.js')).href : `${wanted}/heap`
)

const { engines: probed } = capabilities()
const engines = Object.entries(probed)
  .filter(([, engine]) => engine.available)
  .map(([name]) => name)
assert(engines.includes('fork'), 'the fork engine works on every Linux')
if (options.all) assert.deepEqual(engines, Object.keys(probed), 'every engine can be used')

const { available: withHeap, reason: whyNot } = capabilities().heap
assert(withHeap || !options.heap, whyNot)

const directory = mkdtempSync(path.join(os.tmpdir(), 'stillframe-smoke-'))
try {
  for (const engine of engines) {
    const region = Region.allocate(8 * 1024 * 1024 + 4096)
    const bytes = new Uint8Array(region.buffer)
    bytes.forEach((_, i) => {
      bytes[i] = (i * 2654435761) >>> 24
    })
    const expected = Buffer.from(bytes)

    const file = path.join(directory, `${engine}.sf`)
    const running = snapshot(region, file, { engine, kernelWrites: false })
    bytes.fill(0xee)
    await running.done

    const restored = await restore(file)
    assert.equal(
      Buffer.compare(Buffer.from(restored.regions.main.buffer), expected),
      0,
      `${engine} kept its instant`,
    )
    restored.close()
    region.close()
  }
  if (withHeap) await saveState()
} finally {
  rmSync(directory, { recursive: true, force: true })
}
console.log(
  `smoke test passed: Node ${process.version}, engines ${engines.join(', ')}; ` +
    `stillframe/heap ${withHeap ? 'works' : 'has no addon for this Node'}`,
)

/**
 * Starts a job that captures the instant at which this resolves. On a busy machine V8 may not be at
 * rest immediately.
 */
async function ofThisInstant(start) {
  const end = performance.now() + 30_000
  for (;;) {
    try {
      return start()
    } catch (error) {
      if (error.code !== 'ERR_STILLFRAME_BUSY' || performance.now() > end) throw error
    }
    await setTimeout(50)
  }
}

/** Saves objects and a heap snapshot in a forked copy. */
async function saveState() {
  const state = new Map([['count', 1]])
  const file = path.join(directory, 'state.values')
  const running = await ofThisInstant(() =>
    heap.snapshotState(file, (out) => out.value(state), { retry: false }),
  )
  state.set('count', 2)
  await running.done
  const values = []
  for await (const value of heap.readValues(file)) values.push(value)
  assert.deepEqual(values, [new Map([['count', 1]])], 'JavaScript state kept its instant')

  const { path: dump } = await heap.writeHeapSnapshot(path.join(directory, 'now.heapsnapshot')).done
  assert(JSON.parse(readFileSync(dump, 'utf8')).snapshot.node_count > 0, 'a heap snapshot')
}
