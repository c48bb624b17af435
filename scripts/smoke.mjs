#!/usr/bin/env node
// One snapshot and one restore with every engine that this machine has: the shortest proof that a build or
// an installation works. Not a test of promises; those are in test/.
//
//   node scripts/smoke.mjs [MODULE]      a path to a built index.js, or a package name (default: stillframe)

import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'

const wanted = process.argv[2] ?? 'stillframe'
const { Region, capabilities, restore, snapshot } = await import(
  existsSync(wanted) ? pathToFileURL(path.resolve(wanted)).href : wanted
)

const engines = Object.entries(capabilities().engines)
  .filter(([, engine]) => engine.available)
  .map(([name]) => name)
assert(engines.includes('fork'), 'the fork engine works on every Linux')

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
} finally {
  rmSync(directory, { recursive: true, force: true })
}
console.log(`smoke test passed: Node ${process.version}, engines ${engines.join(', ')}`)
