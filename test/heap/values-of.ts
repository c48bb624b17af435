/** Collects the values of a file. */

import { readValues } from 'stillframe/heap'

/** The values of a file, in order. */
export async function valuesOf(path: string | URL): Promise<unknown[]> {
  const values: unknown[] = []
  for await (const value of readValues(path)) values.push(value)
  return values
}
