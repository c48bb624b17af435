// The actions of an installed package under scripts/check-installs.mjs, in processes and test
// runners of every kind: memory and objects as of one instant, and a region that a Worker writes
// to. Each function throws if it does not work.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { capabilities, Region, restore, snapshot } from 'stillframe'
import { readValues, snapshotState } from 'stillframe/heap'

/** With each available engine, for a region that is shared and one that is not. */
export async function memoryKeepsItsInstant() {
  const engines = Object.entries(capabilities().engines).filter(([, { available }]) => available)
  assert(engines.length > 0)
  await inDirectory(async (directory) => {
    for (const [engine] of engines)
      for (const shared of [false, true]) {
        const region = Region.allocate(2 ** 20, { shared })
        const bytes = new Uint8Array(region.buffer).fill(1)
        const file = path.join(directory, `${engine}-${shared}.stillframe`)
        const running = snapshot(region, file, { engine, kernelWrites: false })
        bytes.fill(2)
        await running.done
        const restored = await restore(file)
        assert(new Uint8Array(restored.regions.main.buffer).every((byte) => byte === 1))
        restored.close()
        region.close()
      }
  })
}

export async function objectsKeepTheirInstant() {
  await inDirectory(async (directory) => {
    const state = new Map([['count', 1]])
    const file = path.join(directory, 'state.values')
    const job = await whenAtRest(() => snapshotState(file, (out) => out.value(state), { retry: false }))
    state.set('count', 2)
    await job.done
    const values = []
    for await (const value of readValues(file)) values.push([...value])
    // As text: some test runners use a V8 context in which the Map belongs to another context's
    // class.
    assert.equal(JSON.stringify(values), '[[["count",1]]]')
  })
}

export async function workersWriteSharedRegions() {
  const region = Region.allocate(4096, { shared: true })
  const code = `require('node:worker_threads').workerData.fill(7)`
  const worker = new Worker(code, { eval: true, workerData: new Uint8Array(region.buffer), execArgv: [] })
  await new Promise((resolve, reject) => worker.once('exit', resolve).once('error', reject))
  assert(new Uint8Array(region.buffer).every((byte) => byte === 7))
  region.close()
}

/** On a busy machine V8 may not be at rest immediately. */
async function whenAtRest(start) {
  const end = Date.now() + 60_000
  for (;;) {
    try {
      return start()
    } catch (error) {
      if (error.code !== 'ERR_STILLFRAME_BUSY' || Date.now() > end) throw error
    }
    await setTimeout(50)
  }
}

async function inDirectory(use) {
  const directory = mkdtempSync(path.join(os.tmpdir(), 'stillframe-installed-'))
  try {
    await use(directory)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
