/** What a piece of work takes of this process, in bytes: a clock would count the load of the machine too. */

import { readFileSync, writeFileSync } from 'node:fs'

export interface Cost {
  /** Memory, at its highest, above what was there before. */
  memory: number
  /** What was read, from files that have it and from holes of files. */
  read: number
}

export async function costOf(work: () => Promise<void>): Promise<Cost> {
  // Begins to look for the highest anew.
  writeFileSync('/proc/self/clear_refs', '5')
  const [memory, read] = [status('VmRSS'), bytesRead()]
  await work()
  return { memory: status('VmHWM') - memory, read: bytesRead() - read }
}

function status(field: string): number {
  return 1024 * numberIn('/proc/self/status', field)
}

function bytesRead(): number {
  return numberIn('/proc/self/io', 'rchar')
}

function numberIn(file: string, field: string): number {
  const found = new RegExp(`^${field}:\\s*(\\d+)`, 'm').exec(readFileSync(file, 'utf8'))
  if (!found) throw new Error(`${file} does not tell ${field}`)
  return Number(found[1])
}
