// An in-memory SQLite database in WebAssembly that can go back in time, and survives its process.
//
//   node examples/sqlite-wasm.mjs [DIRECTORY] [MEGABYTES]
//
// The first run fills a database; each further run restores it from the archive in DIRECTORY in a
// moment. Both then capture two frames while writing continues, and go back to each of them. Needs
// the package @sqlite.org/sqlite-wasm.
//
// Such a database consists only of its WebAssembly.Memory: pages, cache, open transaction.
// Everything outside that memory must be the same at the restore as it was at the capture:
// - the module: the same build of SQLite, started the same way (functions that JavaScript
//   registers, such as your own SQL functions, have a number in a table; register them in the same
//   order);
// - the globals of WebAssembly, of which the stack pointer matters: call capture() and restore()
//   while no call into SQLite is in progress, not from an SQL function or a row callback;
// - pointers that JavaScript holds: the connection (in the same instance it stays valid; for a new
//   process its number goes into the metadata); statements that were prepared at one of the two
//   times but not at the other do not match, so finalize them before;
// - the caller: restore() fills the memory gradually. Nothing may use SQLite until it has finished.

import process from 'node:process'
import sqlite3InitModule from '@sqlite.org/sqlite-wasm'
import { openArchive } from 'stillframe/archive'

const [directory = 'sqlite.frames', megabytes = '100'] = process.argv.slice(2)
const pageBytes = 65536

const archive = await openArchive(directory, { retention: { last: 10 } })

/** The database of the newest frame, in this process; `byteLength` is that of the largest frame. */
async function reopen(byteLength) {
  const memory = new WebAssembly.Memory({ initial: byteLength / pageBytes, maximum: 32768 })
  // Start SQLite in a memory that is large enough, and replace its contents with the frame's.
  const sqlite3 = await sqlite3InitModule({ wasmMemory: memory })
  const { metadata } = await goBack(memory)
  return { memory, db: sqlite3.oo1.DB.wrapHandle(metadata.connection) }
}

/** A new database with the requested megabytes of orders. */
async function create() {
  const sqlite3 = await sqlite3InitModule()
  const db = new sqlite3.oo1.DB(':memory:')
  db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER, document BLOB)')
  db.exec(`
    WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < ${megabytes} * 1000)
    INSERT INTO orders SELECT i, i % 1000, randomblob(1024) FROM counter`)
  return { memory: sqlite3.wasm.memory, db }
}

/** The state that the demonstration shows. */
function stateOf(db) {
  const [orders, sum] = db.selectArray('SELECT count(*), sum(amount) FROM orders')
  return `${orders} orders, amounts add up to ${sum}`
}

/** Captures a frame, and keeps writing while it is being saved. Returns its id. */
async function captureWhileWriting(db, memory) {
  // The number of the connection is a pointer into the memory; a new process needs it.
  const running = archive.capture(memory, { metadata: { connection: db.pointer } })
  let saving = true
  const done = running.done.finally(() => {
    saving = false
  })
  let writes = 0
  while (saving) {
    db.exec('INSERT INTO orders (amount, document) VALUES (1000000, randomblob(4096))')
    writes++
    await new Promise(setImmediate)
  }
  const { durationMs, pauseMs, kind, changedBytes } = await done
  console.log(`saved in ${durationMs.toFixed(0)} ms, the call took ${pauseMs.toFixed(1)} ms`)
  console.log(
    `${kind}: ${(changedBytes / 2 ** 20).toFixed(0)} MiB have changed; meanwhile ${writes} orders came in`,
  )
  return running.id
}

/** Restores the database to a frame, by default the newest one, in its current memory. */
async function goBack(memory, id) {
  const restored = await archive.restore({ id, into: { main: memory } })
  // The memory may have grown since. SQLite no longer knows that part, so make it look new.
  new Uint8Array(memory.buffer, restored.info.byteLength).fill(0)
  return restored
}

const started = performance.now()
let largest = 0
for await (const { byteLength } of archive.frames()) largest = Math.max(largest, byteLength)
const { db, memory } = largest > 0 ? await reopen(largest) : await create()
console.log(`${largest > 0 ? 'brought back' : 'filled'} in ${(performance.now() - started).toFixed(0)} ms`)
console.log(`at the start:   ${stateOf(db)}`)

db.exec('UPDATE orders SET amount = amount + 1 WHERE id % 10 = 0')
console.log(`first frame:    ${stateOf(db)}`)
const first = await captureWhileWriting(db, memory)
console.log(`second frame:   ${stateOf(db)}`)
const second = await captureWhileWriting(db, memory)
console.log(`after writing:  ${stateOf(db)}`)
await goBack(memory, first)
console.log(`back to first:  ${stateOf(db)}`)
await goBack(memory, second)
console.log(`and to second:  ${stateOf(db)}`)
console.log(`integrity check: ${db.selectValue('PRAGMA integrity_check')}`)
await archive.close()
