// Promise I1 and I9 for memory whose layout is not ours: SQLite in WebAssembly, with an in-memory
// database of more than 100 MB that is written to constantly. Proved by restoring into the same
// instance and into a new process: SQLite finds its database intact, and the rows are those of the
// instant of the call.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { restore, type SnapshotResult, snapshot, type WebAssemblyMemory } from 'stillframe'
import { beforeAll, describe, expect, it } from 'vitest'
import { longMode } from '../support/long-mode.mjs'
import { Random } from '../support/random.mjs'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { digestOf, integrityOf, startSqlite } from './sqlite-database.mjs'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'database.snap')
const bytesAtLeast = 100 * 1024 * 1024
const rowBytes = 1000

/** The parts of SQLite's database object that are used here. */
interface Database {
  readonly pointer: number
  exec(sql: string, options?: { bind: unknown[] }): unknown
  selectValue(sql: string): unknown
}

let db: Database
let memory: WebAssemblyMemory

/** Writes as a service does: inserts, updates that make rows longer and shorter, and deletions. */
function write(random: Random, count: number): void {
  for (let i = 0; i < count; i++) {
    const id = random.below(120_000)
    const choice = random.below(4)
    if (choice === 0) db.exec(`INSERT INTO items (version, body) VALUES (${i}, randomblob(${rowBytes}))`)
    else if (choice === 1) db.exec(`DELETE FROM items WHERE id = ${id}`)
    else
      db.exec(
        `UPDATE items SET version = version + 1, body = randomblob(${random.below(3000)}) WHERE id = ${id}`,
      )
  }
}

/** Writes, yielding to the event loop, until the snapshot is complete. */
async function writeUntilDone(random: Random, done: Promise<SnapshotResult>): Promise<number> {
  let running = true
  const settled = done.finally(() => {
    running = false
  })
  let batches = 0
  // Bounded in case the capture never ends; `done` then runs into the timeout of the test.
  for (; running && batches < 100_000; batches++) {
    write(random, 50)
    await new Promise(setImmediate)
  }
  await settled
  return batches
}

/** Restores a snapshot into the running instance. */
async function goBack(from = path): Promise<void> {
  const { info } = await restore(from, { into: { main: memory } })
  // Memory added since then did not exist: fresh WebAssembly memory is zero.
  new Uint8Array(memory.buffer, info.byteLength).fill(0)
}

beforeAll(async () => {
  const sqlite3 = await startSqlite()
  // Missing from SQLite's types.
  memory = (sqlite3.wasm as unknown as { memory: WebAssemblyMemory }).memory
  db = new sqlite3.oo1.DB(':memory:') as unknown as Database
  db.exec('CREATE TABLE items (id INTEGER PRIMARY KEY, version INTEGER NOT NULL, body BLOB NOT NULL)')
  db.exec('CREATE INDEX items_by_version ON items (version)')
  const rows = Math.ceil((bytesAtLeast * 1.1) / rowBytes)
  db.exec(`
    WITH RECURSIVE counter(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM counter WHERE i < ${rows})
    INSERT INTO items SELECT i, i % 97, randomblob(${rowBytes}) FROM counter`)
})

describe('a live SQLite database of more than 100 MB', () => {
  it('is as it was at the call, when it is restored into the same instance', async () => {
    const random = new Random(1)
    write(random, 500)
    const bytes = db.selectValue('SELECT page_count * page_size FROM pragma_page_count, pragma_page_size')
    expect(bytes).toBeGreaterThan(bytesAtLeast)
    const oracle = digestOf(db)
    const lengthThen = memory.buffer.byteLength

    const running = snapshot(memory, path, { metadata: { pointer: db.pointer } })
    expect(await writeUntilDone(random, running.done)).toBeGreaterThan(0)
    // Until the memory has grown, so that the snapshot is smaller than the memory that it is
    // restored into.
    for (let i = 0; memory.buffer.byteLength === lengthThen && i < 500; i++) {
      db.exec(`INSERT INTO items (version, body) VALUES (0, randomblob(${1 << 20}))`)
    }
    expect(memory.buffer.byteLength).toBeGreaterThan(lengthThen)
    expect(digestOf(db)).not.toBe(oracle)

    await goBack()
    expect(integrityOf(db)).toBe('ok')
    expect(digestOf(db)).toBe(oracle)
    // The database can be written to as well.
    write(random, 2000)
    expect(integrityOf(db)).toBe('ok')
    await goBack()
    expect(digestOf(db)).toBe(oracle)
  })

  it('is as it was at the call, in a new process', async () => {
    await goBack()
    const oracle = digestOf(db)
    const program = fileURLToPath(new URL('sqlite-reopen.mjs', import.meta.url))
    const { stdout } = await promisify(execFile)(process.execPath, [program, path], { timeout: 240_000 })
    expect(JSON.parse(stdout)).toEqual({ integrity: 'ok', digest: oracle, integrityAfterInsert: 'ok' })
  })

  it('is in the middle of a transaction again, when the call was made in one', async () => {
    const random = new Random(2)
    const before = digestOf(db)
    db.exec('BEGIN')
    write(random, 500)
    const within = digestOf(db)
    const { done } = snapshot(memory, path)
    write(random, 100)
    db.exec('COMMIT')
    await writeUntilDone(random, done)

    await goBack()
    expect(digestOf(db)).toBe(within)
    expect(integrityOf(db)).toBe('ok')
    db.exec('ROLLBACK')
    expect(digestOf(db)).toBe(before)
    await goBack()
    db.exec('COMMIT')
    expect(digestOf(db)).toBe(within)
    expect(integrityOf(db)).toBe('ok')
  })

  it('is as it was at each of many calls, each of which saved what had changed since the one before', async () => {
    const random = new Random(3)
    const count = longMode ? 60 : 4
    const frames: { frame: string; oracle: unknown; kind: string }[] = []
    let parent: SnapshotResult | undefined
    for (let number = 0; number < count; number++) {
      const frame = join(directory, `${number}.snap`)
      const oracle = digestOf(db)
      const { done } = snapshot(memory, frame, { parent })
      await writeUntilDone(random, done)
      parent = await done
      frames.push({ frame, oracle, kind: parent.kind })
      if (parent.kind === 'delta') expect(parent.changedBytes).toBeLessThan(parent.byteLength)
      write(random, 200)
    }
    expect(frames.map(({ kind }) => kind)).toEqual(['full', ...Array(count - 1).fill('delta')])
    expect(new Set(frames.map(({ oracle }) => oracle)).size).toBe(frames.length)

    // In random order.
    frames.sort(() => random.below(3) - 1)
    for (const { frame, oracle } of frames) {
      await goBack(frame)
      expect(integrityOf(db), frame).toBe('ok')
      expect(digestOf(db), frame).toBe(oracle)
    }
  })
})
