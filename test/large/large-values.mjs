// Promise I9 for JavaScript values where lengths exceed 32 bits: the largest permitted value is
// read back whole, as is the value after it, beyond 4 GiB in the file. A larger value is refused,
// and the previous file remains. Proved at the real size with each kind of value that can be that
// large. Not part of `npm test`:
//
//   npm run test:large:values                        in the temporary directory
//   npm run test:large:values -- /data               in /data
//
// Needs 14 GB of memory, and 9 GB of disk in the directory.

import assert from 'node:assert/strict'
import { constants } from 'node:buffer'
import { mkdtempSync, rmSync } from 'node:fs'
import { open, readdir } from 'node:fs/promises'
import { freemem, tmpdir } from 'node:os'
import path from 'node:path'
import { readValues, snapshotState } from 'stillframe/heap'

const GiB = 2 ** 30
const directory = mkdtempSync(path.join(process.argv[2] ?? tmpdir(), 'stillframe-large-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
const file = path.join(directory, 'values')
const options = { memoryLimit: 13 * GiB, durable: false, stallTimeoutMs: 600_000 }
const started = performance.now()

/** Prints the result of a check. */
function say(text) {
  const seconds = ((performance.now() - started) / 1000).toFixed(1).padStart(6)
  console.log(`${seconds} s  ${text}`)
}

async function refusalOf(value) {
  return await snapshotState(file, (out) => out.value(value), options).done.then(
    () => assert.fail('more than can be read was written'),
    (error) => error,
  )
}

async function valuesOfFile() {
  const values = []
  for await (const value of readValues(file)) values.push(value)
  return values
}

console.log(`Node ${process.version}, ${(freemem() / GiB).toFixed(1)} GiB free, in ${directory}`)

// The payload is a few bytes longer than the array.
const largest = new Uint8Array(4 * GiB - 4096)
for (let at = 0; at < largest.length; at += 4096) largest[at] = at / 4096
largest[largest.length - 1] = 7
const { fileSize } = await snapshotState(
  file,
  (out) => {
    out.value(largest)
    out.value('behind it')
  },
  options,
).done
assert.ok(fileSize > 4 * GiB - 4096)
{
  const [first, second, ...rest] = await valuesOfFile()
  assert.equal(Buffer.compare(first, largest), 0)
  assert.deepEqual([second, rest], ['behind it', []])
}
say(`a value of ${largest.length} bytes and one behind it are read back as they were`)

const beyond = {
  'five arrays of 1 GiB': () => Array.from({ length: 5 }, () => new Uint8Array(GiB)),
  'nine strings of 511 MiB': () =>
    new Array(9).fill('x'.repeat(Math.min(511 * 2 ** 20, constants.MAX_STRING_LENGTH))),
  'the largest array and 4096 bytes': () => [largest, new Uint8Array(4096)],
  // Node 20 cannot create an array of this size.
  ...(constants.MAX_LENGTH > 4 * GiB
    ? { 'one array of 4 GiB and 64 bytes': () => new Uint8Array(4 * GiB + 64) }
    : {}),
}
for (const [what, make] of Object.entries(beyond)) {
  const { code, message } = await refusalOf(make())
  say(`${what}: ${code} ${message}`)
  assert.equal(code, 'ERR_STILLFRAME_CALLBACK')
  assert.match(message, /more than 4294967295 bytes cannot be read back/)
  assert.deepEqual(await readdir(directory), ['values'])
}
assert.equal((await valuesOfFile())[1], 'behind it')
say('the file from before is still whole')

const handle = await open(file, 'r+')
await handle.write(new Uint8Array([99]), 0, 1, 4_000_000_001)
await handle.close()
await assert.rejects(valuesOfFile(), { code: 'ERR_STILLFRAME_CORRUPT' })
say('one changed byte at 4,000,000,001 is found')
