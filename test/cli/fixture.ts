/** Small snapshots for the tests to inspect. */

import { join } from 'node:path'
import { Region, type SnapshotResult, snapshot } from '../../lib/index.js'

/** Contents of the section `'orders'`: no two pages are equal, and the last page is partial. */
export const orders = Buffer.alloc(3 * 2 ** 20 + 1234)
for (let offset = 0; offset + 4 <= orders.length; offset += 4)
  orders.writeUInt32LE((offset * 2654435761) >>> 0, offset)

/** Contents of the section `'counters'`. */
export const counters = Buffer.alloc(8192, 'counter ')

/** Metadata of the snapshot; the escape character must not reach a terminal. */
export const metadata = { service: 'orders', revision: 42, note: '\u001b[31mred\u009b' }

/** A chain of three frames, and the memory of the newest frame. */
export interface ChainFixture {
  /** Starts with the full frame. */
  paths: [string, string, string]
  ids: [string, string, string]
  table: Buffer
}

/** Pages of the section `'table'` of {@link writeChain}; the last page is partial. */
export const tablePages = 1025

/**
 * Saves a full frame and two deltas into `directory`. The first delta changes pages 0 and 1 and
 * pages 512 to 767 of the section `'table'`, the second changes page 0. All frames have the section
 * `'small'`, which never changes.
 */
export async function writeChain(directory: string): Promise<ChainFixture> {
  const table = Buffer.alloc(tablePages * 4096 - 4000)
  for (let offset = 0; offset + 4 <= table.length; offset += 4)
    table.writeUInt32LE((offset * 2654435761) >>> 0, offset)
  const small = Buffer.alloc(5000, 'small ')
  const at = (name: string): string => join(directory, name)
  const save = (path: string, parent?: string): Promise<SnapshotResult> =>
    snapshot({ table, small }, path, { parent, metadata, durable: false }).done
  const full = await save(at('0.sf'))
  table.fill(1, 0, 2 * 4096)
  table.fill(1, 512 * 4096, 768 * 4096)
  const first = await save(at('1.sf'), at('0.sf'))
  table.fill(2, 100, 200)
  const second = await save(at('2.sf'), at('1.sf'))
  return {
    paths: [at('0.sf'), at('1.sf'), at('2.sf')],
    ids: [full.id, first.id, second.id],
    table,
  }
}

/** Saves the two sections to `path`. */
export async function writeFixture(path: string): Promise<void> {
  using first = regionOf(orders)
  using second = regionOf(counters)
  await snapshot({ orders: first, counters: second }, path, { metadata }).done
}

function regionOf(contents: Buffer): Region {
  const region = Region.allocate(contents.length)
  new Uint8Array(region.buffer).set(contents)
  return region
}
