#!/usr/bin/env node
// Prints one row of the table in docs/PLATFORMS.md: which variants work under this kernel, on this
// processor, for this user. Each cell is tried, and each refusal must match the reason reported in
// advance.
//
//   node test/machine/table.mjs WHO        WHO describes the user in the row
//
// It runs in the checkout as it is, with the package in dist/. Below the row it prints the reason
// for each refusal. Exit status 1 if a variant reported as working does not work, if a variant
// reported as unavailable works or is refused for another reason, or if 'auto' does not choose the
// best working variant.

import assert from 'node:assert/strict'
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { capabilities, Region, restore, snapshot } from 'stillframe'
import { readValues, snapshotState } from 'stillframe/heap'
import { allVariants, optionsOf, whyNot } from '../support/variants.mjs'

const [who = 'this user'] = process.argv.slice(2)
const pages = 600 // more than a unit of 2 MiB if pages are 4 KiB
const { kernel, pageSize, features, heap } = capabilities()
const directory = mkdtempSync(path.join(os.tmpdir(), 'stillframe-table-'))

/** @type {string[]} */
const notes = []
/** @type {string[]} */
const faults = []

try {
  const cells = []
  for (const variant of allVariants) {
    cells.push(await cell(variant, whyNot(variant), () => kept(variant, optionsOf[variant])))
  }
  for (const kernelWrites of [true, false]) {
    cells.push(await cell(`auto, kernelWrites: ${kernelWrites}`, undefined, () => automatic(kernelWrites)))
  }
  cells.push(await cell('recording', whyNot('userfaultfd thread'), recorded))
  cells.push(await cell('lazy restore', reasonOf('userfaultfd_missing'), lazilyRestored))
  cells.push(await cell('stillframe/heap', heap.available ? undefined : heap.reason, stateKept))

  const [, release, machine] = kernel.split(' ')
  console.log(`| ${machine}, ${pageSize / 1024} KiB | ${release} | ${who} | ${cells.join(' | ')} |`)
  for (const note of notes) console.log(`    ${note}`)
  for (const fault of faults) console.log(`FAILED  ${fault}`)
  process.exitCode = faults.length > 0 ? 1 : 0
} finally {
  rmSync(directory, { recursive: true, force: true })
}

/**
 * @param {string} name
 * @param {string | undefined} reason - why it should not work, as reported in advance.
 * @param {() => Promise<string>} attempt - resolves with the cell.
 */
async function cell(name, reason, attempt) {
  try {
    const found = await attempt()
    if (reason !== undefined) faults.push(`${name}: works, and is said not to: ${reason}`)
    return found
  } catch (error) {
    const { code, message } = /** @type {NodeJS.ErrnoException} */ (error)
    if (reason === undefined) {
      faults.push(`${name}: ${/** @type {Error} */ (error).stack}`)
    } else if (code !== 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' || !message.includes(reason)) {
      faults.push(`${name}: refused with ${code}, ${message}; said beforehand was: ${reason}`)
    }
    notes.push(`${name}: ${message}`)
    return '–'
  }
}

/** @param {string} feature */
function reasonOf(feature) {
  const { available, reason } = features[feature] ?? { available: false, reason: 'not known' }
  return available ? undefined : reason
}

/** A region and its content: pages that were written, followed by pages that never were. */
function filledRegion() {
  const region = Region.allocate(pages * pageSize)
  const bytes = new Uint8Array(region.buffer)
  const words = new Uint32Array(region.buffer, 0, ((pages - 8) * pageSize) / 4)
  for (let i = 0; i < words.length; i++) words[i] = Math.imul(i, 2654435761)
  return { region, bytes, expected: Buffer.from(bytes) }
}

/**
 * Checks that the snapshot has the bytes of the instant of the call, while all of them are
 * overwritten by JavaScript and, where the options allow for it, by the kernel.
 *
 * @param {string} name
 * @param {import('stillframe').SnapshotOptions} options
 */
async function kept(name, options) {
  const { region, bytes, expected } = filledRegion()
  const file = path.join(directory, `${name}.sf`)
  const source = path.join(directory, 'kernel-writes')
  writeFileSync(source, Buffer.alloc(64 * pageSize, 0x77))
  const descriptor = openSync(source, 'r')
  try {
    const running = snapshot(region, file, options)
    bytes.fill(0xee, 0, bytes.length / 2)
    if (options.kernelWrites !== false) {
      assert.equal(readSync(descriptor, bytes, bytes.length / 2, 64 * pageSize, 0), 64 * pageSize)
      // Pages that have never been touched.
      assert.equal(readSync(descriptor, bytes, (pages - 4) * pageSize, pageSize, 0), pageSize)
    }
    bytes.fill(0xee, bytes.length / 2)
    const result = await running.done
    if (options.engine !== undefined && options.engine !== 'auto') assert.equal(result.engine, options.engine)
    await sameBytes(file, expected)
    assert(
      bytes.every((byte) => byte === 0xee),
      'what was written stays',
    )
    return options.engine === undefined
      ? result.engine === 'userfaultfd'
        ? `userfaultfd (${result.faultHandling})`
        : result.engine
      : 'works'
  } finally {
    closeSync(descriptor)
    region.close()
  }
}

/**
 * @param {string} file
 * @param {Buffer} expected
 */
async function sameBytes(file, expected) {
  for (const mode of /** @type {const} */ (['map', 'copy'])) {
    const restored = await restore(file, { mode })
    const memory = restored.regions['main']?.buffer ?? new ArrayBuffer(0)
    assert(Buffer.from(memory).equals(expected), `mode ${mode} gives the bytes of the call's instant`)
    restored.close()
  }
}

/**
 * Returns the engine that 'auto' chooses. It must be the first in the order of docs/ENGINES.md that
 * works here.
 *
 * @param {boolean} kernelWrites
 */
async function automatic(kernelWrites) {
  const order = kernelWrites
    ? /** @type {const} */ (['userfaultfd thread', 'fork'])
    : /** @type {const} */ (['userfaultfd signal', 'mprotect', 'fork'])
  const best = order.find((variant) => whyNot(variant) === undefined)
  const taken = await kept('auto', { kernelWrites })
  assert.equal(taken, best?.replace(/ (.*)/, ' ($1)'), 'the best engine that works here')
  return taken
}

/** Takes a second frame, which must scan little more than the recorded writes. */
async function recorded() {
  const { region, bytes } = filledRegion()
  try {
    const first = path.join(directory, 'first.sf')
    const second = path.join(directory, 'second.sf')
    await snapshot(region, first, { trackChanges: true, kernelWrites: true }).done
    bytes[0] ^= 0xff
    const expected = Buffer.from(bytes)
    const { scannedBytes } = await snapshot(region, second, {
      parent: first,
      trackChanges: true,
      kernelWrites: true,
    }).done
    await sameBytes(second, expected)
    if (scannedBytes < bytes.length) return 'works'
    throw unavailable(whyNot('userfaultfd thread') ?? 'no reason is given')
  } finally {
    region.close()
  }
}

/**
 * Without a record of writes all memory is read again. That is not an error; the engine gives the
 * reason.
 *
 * @param {string} reason
 */
function unavailable(reason) {
  return Object.assign(new Error(`all memory is compared: ${reason}`), {
    code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE',
  })
}

async function lazilyRestored() {
  const { region, expected } = filledRegion()
  const file = path.join(directory, 'lazy.sf')
  await snapshot(region, file, { engine: 'fork' }).done
  region.close()
  const restored = await restore(file, { mode: 'lazy' })
  const memory = new Uint8Array(restored.regions['main']?.buffer ?? new ArrayBuffer(0))
  // Reads the last nonzero byte first, while memory has been filled only in the background.
  const last = (pages - 8) * pageSize - 1
  assert.equal(memory[last], expected[last])
  assert(Buffer.from(memory).equals(expected), 'all bytes of the frame')
  restored.close()
  return 'works'
}

async function stateKept() {
  const state = new Map([['count', 1]])
  const file = path.join(directory, 'state.values')
  const running = snapshotState(file, (out) => out.value(state))
  await running.done
  state.set('count', 2)
  const values = []
  for await (const value of readValues(file)) values.push(value)
  assert.deepEqual(values, [new Map([['count', 1]])])
  return 'works'
}
