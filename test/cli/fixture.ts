/** A small snapshot for the tests to look at. */

import { Region, snapshot } from '../../lib/index.js'

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
