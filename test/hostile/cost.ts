/**
 * Measures the cost of an operation in bytes. A clock would also measure the load of the machine.
 */

import { readFileSync, writeFileSync } from 'node:fs'

export interface Cost {
  /** Peak memory above the memory in use before. */
  memory: number
  /** Bytes read, both from data and from holes of files. */
  read: number
}

export async function costOf(work: () => Promise<void>): Promise<Cost> {
  // Resets the peak.
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
