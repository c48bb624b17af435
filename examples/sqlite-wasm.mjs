// An in-memory SQLite database in WebAssembly that can go back in time, and survives its process.
//
//   node examples/sqlite-wasm.mjs [FILE] [MEGABYTES]
//
// The first run fills a database; each further run brings it back from FILE in a moment. Both then write, take
// a snapshot while writing goes on, and go back to it. Needs the package @sqlite.org/sqlite-wasm.
//
// A database like this is its WebAssembly.Memory and nothing else: pages, cache, open transaction. What is not
// in that memory must be the same at the restore as it was at the call:
//   - the module: the same build of SQLite, started the same way (functions that JavaScript registers, such as
//     your own SQL functions, have a number in a table; register them in the same order);
//   - the globals of WebAssembly, of which the stack pointer matters: call snapshot() and restore() when no call
//     into SQLite is under way, not from an SQL function or a row callback;
//   - pointers that JavaScript holds: the connection (same instance: it stays good; new process: its number goes
//     into the metadata); statements that were prepared then and finalized since, or the other way round, do
//     not match, so finalize them before;
//   - the caller: restore() fills the memory bit by bit. Let nothing use SQLite until it is done.

import { existsSync } from 'node:fs'
import process from 'node:process'
import sqlite3InitModule from '@sqlite.org/sqlite-wasm'
import { inspect, restore, snapshot } from 'stillframe'

const [path = 'sqlite.snapshot', megabytes = '100'] = process.argv.slice(2)
const pageBytes = 65536

/** The database of the snapshot, in this process. */
async function reopen() {
  const { byteLength, metadata } = await inspect(path)
  const memory = new WebAssembly.Memory({ initial: byteLength / pageBytes, maximum: 32768 })
  // Start SQLite in a memory that is large enough, and put the one of the snapshot in its place.
  const sqlite3 = await sqlite3InitModule({ wasmMemory: memory })
  await restore(path, { into: { main: memory } })
  return { memory, db: sqlite3.oo1.DB.wrapHandle(metadata.connection) }
}

/** A new database with so many megabytes of orders. */
async function create() {
  const sqlite3 = await sqlite3InitModule()
  const db = new sqlite3.oo1.DB(':memory:')
  db.exec('CREATE TABLE orders (id INTEGER PRIMARY KEY, amount INTEGER, document BLOB)')
  db.exec(`
    WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < ${megabytes} * 1000)
    INSERT INTO orders SELECT i, i % 1000, randomblob(1024) FROM counter`)
  return { memory: sqlite3.wasm.memory, db }
}

/** What the demonstration looks at. */
function stateOf(db) {
  const [orders, sum] = db.selectArray('SELECT count(*), sum(amount) FROM orders')
  return `${orders} orders, amounts add up to ${sum}`
}

/** Takes a snapshot and writes on while it is being saved. */
async function snapshotWhileWriting(db, memory) {
  // The number of the connection is a pointer into the memory; a new process needs it.
  const running = snapshot(memory, path, { metadata: { connection: db.pointer } })
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
  const { durationMs, pauseMs } = await done
  console.log(`saved in ${durationMs.toFixed(0)} ms, the call took ${pauseMs.toFixed(1)} ms`)
  console.log(`meanwhile ${writes} orders came in`)
}

/** Puts the database back to the snapshot, in the memory that it lives in now. */
async function goBack(memory) {
  const { info } = await restore(path, { into: { main: memory } })
  // The memory may have grown since. SQLite does not know of that part any more; make it as good as new.
  new Uint8Array(memory.buffer, info.byteLength).fill(0)
}

const started = performance.now()
const found = existsSync(path)
const { db, memory } = found ? await reopen() : await create()
console.log(`${found ? 'brought back' : 'filled'} in ${(performance.now() - started).toFixed(0)} ms`)

db.exec('UPDATE orders SET amount = amount + 1 WHERE id % 10 = 0')
console.log(`at the call:     ${stateOf(db)}`)
await snapshotWhileWriting(db, memory)
console.log(`after writing:   ${stateOf(db)}`)
await goBack(memory)
console.log(`after going back: ${stateOf(db)}`)
console.log(`integrity check: ${db.selectValue('PRAGMA integrity_check')}`)
