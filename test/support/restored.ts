/** Restores a snapshot in every way and compares each result with the expected contents. */

import { Region, type Restored, restore } from 'stillframe'

/** Expected bytes of each section. */
export type Expected = Readonly<Record<string, Uint8Array>>

/**
 * Restores `path` as a mapping, as a copy, into Regions and into ArrayBuffers.
 *
 * @returns undefined if all of them hold exactly the expected sections; otherwise a description of
 *   the difference.
 */
export async function differenceAfterRestore(path: string, expected: Expected): Promise<string | undefined> {
  return (
    (await differenceAfterNewMemory(path, expected, 'map')) ??
    (await differenceAfterNewMemory(path, expected, 'copy')) ??
    (await differenceAfterFilling(path, expected, 'Region')) ??
    (await differenceAfterFilling(path, expected, 'ArrayBuffer'))
  )
}

async function differenceAfterNewMemory(
  path: string,
  expected: Expected,
  mode: 'map' | 'copy',
): Promise<string | undefined> {
  using restored = await restore(path, { mode })
  return differenceBetween(restored, expected, `restored with mode '${mode}'`)
}

function differenceBetween({ regions }: Restored, expected: Expected, how: string): string | undefined {
  const names = Object.keys(regions)
  if (names.sort().join('\0') !== Object.keys(expected).sort().join('\0')) {
    return `${how}: the sections are ${names.join(', ')}`
  }
  for (const [name, region] of Object.entries(regions)) {
    const difference = differenceOf(new Uint8Array(region.buffer), expected[name] as Uint8Array)
    if (difference !== undefined) return `${how}, section '${name}': ${difference}`
  }
  return undefined
}

async function differenceAfterFilling(
  path: string,
  expected: Expected,
  kind: 'Region' | 'ArrayBuffer',
): Promise<string | undefined> {
  // Filled with another value first, so that zeros have to be written too.
  const lengths = Object.entries(expected).map(([name, { length }]) => [name, length] as const)
  const into = Object.fromEntries(
    lengths.map(([name, length]) => {
      return [name, kind === 'Region' ? Region.allocate(length) : new ArrayBuffer(length)] as const
    }),
  )
  const contents = (target: Region | ArrayBuffer) =>
    new Uint8Array(target instanceof Region ? target.buffer : target)
  try {
    for (const target of Object.values(into)) contents(target).fill(0xee)
    await restore(path, { into })
    for (const [name, target] of Object.entries(into)) {
      const difference = differenceOf(contents(target), expected[name] as Uint8Array)
      if (difference !== undefined) return `restored into a ${kind}, section '${name}': ${difference}`
    }
    return undefined
  } finally {
    for (const target of Object.values(into)) if (target instanceof Region) target.close()
  }
}

/** Describes where two pieces of memory differ; undefined if they are equal. */
export function differenceOf(actual: Uint8Array, expected: Uint8Array): string | undefined {
  if (actual.length !== expected.length) return `${actual.length} bytes instead of ${expected.length}`
  if (Buffer.compare(actual, expected) === 0) return undefined
  const at = actual.findIndex((byte, index) => byte !== expected[index])
  let count = 0
  for (let i = at; i < actual.length; i++) if (actual[i] !== expected[i]) count++
  return `${count} of ${actual.length} bytes differ, the first at ${at}: ${actual[at]} instead of ${expected[at]}`
}

/** True if all bytes have the given value. */
export function isFilledWith(bytes: Uint8Array, value: number): boolean {
  if (bytes.length === 0) return true
  // Compares the memory with itself shifted by one byte: memcmp is a hundred times faster than a
  // loop here.
  return bytes[0] === value && Buffer.compare(bytes.subarray(1), bytes.subarray(0, -1)) === 0
}
