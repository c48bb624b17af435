// Shared by sqlite.test.ts and its child program sqlite-reopen.mjs: SQLite in WebAssembly, and its
// rows as a digest.

import { createHash } from 'node:crypto'
import sqlite3InitModule from '@sqlite.org/sqlite-wasm'

/** Starts a separate SQLite in `wasmMemory`, or in new memory if that is not given. */
export function startSqlite(wasmMemory) {
  return sqlite3InitModule({
    ...(wasmMemory && { wasmMemory }),
    print: () => {},
    printErr: () => {},
  })
}

/**
 * All rows of the table, in order, as one hash. It is computed in JavaScript, which SQLite cannot
 * mislead.
 */
export function digestOf(db) {
  const hash = createHash('sha256')
  let rows = 0
  db.exec({
    sql: 'SELECT id, version, body FROM items ORDER BY id',
    rowMode: 'array',
    callback: ([id, version, body]) => {
      hash.update(`${id}:${version}:`).update(body)
      rows++
    },
  })
  return `${rows} rows ${hash.digest('hex')}`
}

/** 'ok', or a description of what is wrong with the database. */
export function integrityOf(db) {
  return db.selectValue('PRAGMA integrity_check')
}
