// Promise I9 beyond 4 GiB, where offsets exceed 32 bits: snapshot and restore of a Region slightly
// larger than 5 GiB, in full, and of a 16 GiB Region that is almost untouched. Proved by comparing
// every word with the value derived from its offset, and by close checks around the 4 GiB border.
// Not part of `npm test`:
//
//   npm run test:large                                           every engine, temporary directory
//   npm run test:large -- --engine fork --engine mprotect /data  only these, in /data
//
// Needs 12 GB of memory, and 11 GB of disk in the directory. It prints each engine that this
// machine lacks.

import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { freemem, tmpdir } from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { capabilities, inspect, Region, restore, snapshot, verify } from 'stillframe'
import { optionsOf } from '../support/variants.mjs'

const GiB = 2 ** 30
const MiB = 2 ** 20
const border = 4 * GiB
// Not a whole number of pages, words or blocks.
const byteLength = 5 * GiB + 262_144 + 4096 + 3
const windowBytes = 256 * MiB
const neededBytes = 12e9

const { values, positionals } = parseArgs({
  options: { engine: { type: 'string', multiple: true } },
  allowPositionals: true,
})
const directory = mkdtempSync(path.join(positionals[0] ?? tmpdir(), 'stillframe-large-'))
const started = performance.now()

/** Prints the result of a check. */
function say(text) {
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6)
  console.log(`${seconds} s  ${text}`)
}

/** The windows of a buffer. On Node 20 a typed array cannot extend beyond 4 GiB. */
function* windowsOf(buffer, from = 0, to = buffer.byteLength) {
  for (let at = from; at < to; at += windowBytes) yield [at, Math.min(windowBytes, to - at)]
}

/** The expected word at this offset in this generation. It differs from the word 4 GiB away. */
function wordAt(offset, generation) {
  const high = Math.floor(offset / border)
  return (Math.imul((offset / 4) | 0, 0x9e3779b1) + Math.imul(high + 1, 0x85ebca6b) + generation) | 0
}

function write(buffer, generation, from = 0, to = buffer.byteLength) {
  for (const [at, length] of windowsOf(buffer, from, to)) {
    const words = new Int32Array(buffer, at, length >>> 2)
    for (let i = 0; i < words.length; i++) words[i] = wordAt(at + i * 4, generation)
    const rest = new Uint8Array(buffer, at + words.length * 4, length & 3)
    rest.fill(wordAt(at + words.length * 4, generation))
  }
}

/** Compares `buffer` with the words written from offset `origin` on. */
function check(buffer, generation, origin = 0) {
  for (const [at, length] of windowsOf(buffer)) {
    const words = new Int32Array(buffer, at, length >>> 2)
    for (let i = 0; i < words.length; i++) {
      const wanted = wordAt(origin + at + i * 4, generation)
      if (words[i] !== wanted) assert.fail(`at byte ${at + i * 4}: ${words[i]} instead of ${wanted}`)
    }
    const restAt = at + words.length * 4
    for (const byte of new Uint8Array(buffer, restAt, length & 3)) {
      assert.equal(byte, wordAt(origin + restAt, generation) & 0xff)
    }
  }
}

/** @param {object} options - chooses the engine. */
async function whole(options) {
  const file = path.join(directory, 'whole.snap')
  const region = Region.allocate(byteLength)
  assert.equal(region.byteLength, byteLength)
  assert.equal(region.buffer.byteLength, byteLength)
  write(region.buffer, 1)
  say(`a Region of ${byteLength} bytes is written`)

  const across = new Uint8Array(region.buffer, border - MiB - 4, 2 * MiB + 4)
  const beyond = new Uint8Array(region.buffer, border + 8, byteLength - border - 8)
  // The other engines capture whole regions only.
  const views = options.engine === 'fork' ? { across, beyond } : {}
  const running = snapshot({ region, ...views }, file, { ...options, metadata: { generation: 1 } })
  // Around the border and at both ends, all before the saver can have arrived there.
  write(region.buffer, 2, border - 64 * MiB, border + 64 * MiB)
  write(region.buffer, 2, 5 * GiB - 8 * MiB)
  write(region.buffer, 2, 0, 8 * MiB)
  const result = await running.done
  const lengths = [region, ...Object.values(views)].map((each) => each.byteLength)
  assert.equal(
    result.byteLength,
    lengths.reduce((sum, length) => sum + length),
  )
  say(`saved in ${(result.durationMs / 1000).toFixed(1)} s, paused for ${result.pauseMs.toFixed(1)} ms`)

  const { sections } = await inspect(file)
  assert.deepEqual(
    sections.map((section) => section.byteLength),
    lengths,
  )
  assert.deepEqual((await verify(file)).problems, [])
  say('the file is sound')

  {
    const mapped = await restore(file, { verify: false })
    check(mapped.regions.region.buffer, 1)
    if ('across' in views) {
      check(mapped.regions.across.buffer, 1, border - MiB - 4)
      check(mapped.regions.beyond.buffer, 1, border + 8)
    }
    mapped.close()
  }
  say("restored with mode 'map': every word is right")

  await restore(file, { into: { region }, verify: false })
  check(region.buffer, 1)
  say('restored into the Region that it came from: every word is right')

  if ('across' in views) {
    // Into a view that is not a whole Region, which is restored chunk by chunk on the JavaScript
    // thread.
    write(region.buffer, 3, border - 4 * MiB, border + 4 * MiB)
    await restore(file, { into: { across }, verify: false })
    check(across.slice().buffer, 1, border - MiB - 4)
    const before = new Int32Array(region.buffer, border - 2 * MiB, 4)
    const behind = new Int32Array(region.buffer, border + 2 * MiB, 4)
    assert.equal(before[0], wordAt(border - 2 * MiB, 3))
    assert.equal(behind[0], wordAt(border + 2 * MiB, 3))
    say('restored into a view across the border: every word is right, and none around it is touched')
  }
  region.close()

  {
    const copied = await restore(file, { mode: 'copy', sections: ['region'] })
    check(copied.regions.region.buffer, 1)
    const again = path.join(directory, 'again.snap')
    rmSync(file)
    await snapshot(copied.regions.region, again, options).done
    copied.close()
    const mapped = await restore(again)
    check(mapped.regions.main.buffer, 1)
    mapped.close()
    rmSync(again)
  }
  say("restored with mode 'copy', saved and restored once more: every word is right")
}

/** @param {object} options - chooses the engine. */
async function sparse(options) {
  const file = path.join(directory, 'sparse.snap')
  const region = Region.allocate(16 * GiB, { hugePages: false })
  const places = [1, 2, 3, 4].flatMap((times) => {
    const at = times * border
    return [at - 4097, at - 4096, at - 1, at, at + 4095].filter((place) => place < region.byteLength)
  })
  for (const place of places) new Uint8Array(region.buffer, place, 1)[0] = 1 + (place % 251)
  const { done } = snapshot(region, file, options)
  for (const place of places) new Uint8Array(region.buffer, place, 1)[0] = 0
  const result = await done
  assert.equal(result.byteLength, 16 * GiB)
  const { allocatedBytes } = await inspect(file)
  assert.ok(allocatedBytes < 64 * MiB, `the file takes ${allocatedBytes} bytes`)
  const mapped = await restore(file)
  for (const place of places) {
    const [left, byte, right] = new Uint8Array(
      mapped.regions.main.buffer,
      place - 1,
      Math.min(3, region.byteLength - place + 1),
    )
    assert.equal(byte, 1 + (place % 251), `at ${place}`)
    if (!places.includes(place - 1)) assert.equal(left, 0, `before ${place}`)
    if (!places.includes(place + 1)) assert.equal(right ?? 0, 0, `behind ${place}`)
  }
  mapped.close()
  region.close()
  say(`a Region of 16 GiB with ${places.length} bytes in it: all are where they were`)
}

if (freemem() < neededBytes) console.warn(`only ${(freemem() / 1e9).toFixed(1)} GB of memory are free`)
try {
  const { engines } = capabilities()
  for (const [variant, options] of Object.entries(optionsOf)) {
    if (values.engine !== undefined && !values.engine.includes(options.engine)) continue
    const engine = engines[options.engine]
    if (!engine.available) {
      say(`left out: ${variant}: ${engine.reason}`)
      continue
    }
    say(`== ${variant}`)
    await whole(options)
    await sparse(options)
  }
  say('done')
} finally {
  rmSync(directory, { recursive: true, force: true })
}
