/** A full file and a chain of two deltas, for tests to damage. */

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { snapshot } from 'stillframe'

/** Pages that all differ, except `zeroPages`, which are zero. */
function paged(length: number, mark: number, ...zeroPages: number[]): Uint8Array {
  const bytes = new Uint8Array(length).map((_, i) => 1 + (((i >>> 12) * 3 + mark) % 255))
  for (const page of zeroPages) bytes.fill(0, page * 4096, (page + 1) * 4096)
  return bytes
}

const kept = paged(5000, 9)
const full = { kept, pages: paged(80_000, 0, 3), grown: paged(5000, 1), cleared: paged(100, 7) }
export const middle = {
  kept,
  pages: paged(80_000, 0, 2).fill(77, 4096, 4100),
  grown: paged(262_144 + 300, 1),
  cleared: new Uint8Array(100),
}
export const newest = {
  new: paged(100, 5),
  pages: paged(80_000, 0, 2).fill(78, 4096, 4100),
  grown: middle.grown,
  cleared: middle.cleared,
  kept,
}

export const names = ['full', 'middle', 'newest'] as const
export type Name = (typeof names)[number]
/** Writes the files into a directory, under their names. */
export async function writeChain(directory: string): Promise<Record<Name, Buffer>> {
  const at = (name: Name): string => join(directory, name)
  await snapshot(full, at('full'), { metadata: 'full' }).done
  await snapshot(middle, at('middle'), { parent: at('full'), metadata: 'middle' }).done
  await snapshot(newest, at('newest'), { parent: at('middle'), metadata: 'newest', compression: 'zstd' }).done
  return {
    full: readFileSync(at('full')),
    middle: readFileSync(at('middle')),
    newest: readFileSync(at('newest')),
  }
}
