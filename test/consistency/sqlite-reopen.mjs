// A child program of sqlite.test.ts: restores the database of a snapshot in a new process and
// reports what it finds there. Usage: node sqlite-reopen.mjs FILE

import process from 'node:process'
import { inspect, restore } from 'stillframe'
import { digestOf, integrityOf, startSqlite } from './sqlite-database.mjs'

const path = process.argv[2]
const { sections, metadata } = await inspect(path)
const pages = sections[0].byteLength / 65536
const memory = new WebAssembly.Memory({ initial: pages, maximum: 32768 })
const sqlite3 = await startSqlite(memory)
await restore(path, { into: { main: memory } })
const db = sqlite3.oo1.DB.wrapHandle(metadata.pointer)
const found = { integrity: integrityOf(db), digest: digestOf(db) }
db.exec('INSERT INTO items (version, body) VALUES (1, zeroblob(100000))')
console.log(JSON.stringify({ ...found, integrityAfterInsert: integrityOf(db) }))
