/** A small snapshot for the tests to look at, and a place of their own to do it in. */

import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll } from 'vitest'
import { Region, snapshot } from '../../lib/index.js'

/** A directory that is gone after the test file. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'stillframe-cli-'))
  afterAll(() => rmSync(directory, { recursive: true, force: true }))
  return directory
}

/** Contents of the section `'orders'`: no two pages are alike, and the last one is not whole. */
export const orders = Buffer.alloc(3 * 2 ** 20 + 1234)
for (let offset = 0; offset + 4 <= orders.length; offset += 4)
  orders.writeUInt32LE((offset * 2654435761) >>> 0, offset)

/** Contents of the section `'counters'`. */
export const counters = Buffer.alloc(8192, 'counter ')

/** Metadata of the snapshot; the escape character must not reach a terminal. */
export const metadata = { service: 'orders', revision: 42, note: '\u001b[31mred\u009b' }

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

/** Flips all bits of one byte of a file. */
export function flipByte(path: string, offset: number): void {
  const file = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, offset)
  byte.writeUInt8(byte.readUInt8(0) ^ 0xff)
  writeSync(file, byte, 0, 1, offset)
  closeSync(file)
}
