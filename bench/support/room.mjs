// Tests whether a scenario fits into the free memory of this machine: a benchmark that makes it
// swap or kill processes measures nothing.
import { readFileSync, statfsSync } from 'node:fs'
import { GIB } from './pages.mjs'
import { size } from './table.mjs'

// For Node itself, and for other processes.
const RESERVE = 1.5 * GIB

const systemMemory = () =>
  Number(/^MemAvailable:\s+(\d+) kB/m.exec(readFileSync('/proc/meminfo', 'latin1'))?.[1]) * 1024

/** Bytes that can still be allocated: the limit of the system or of this process's cgroup. */
export const availableMemory = () => Math.min(systemMemory(), process.availableMemory?.() ?? Infinity)

/** The reason why a scenario does not fit; undefined if it does. */
export const whyNoRoom = (directory, { memory, disk = 0 }) => {
  const available = availableMemory()
  if (memory + RESERVE > available) {
    return `needs ${size(memory)} of memory and ${size(RESERVE)} to spare; ${size(available)} are available`
  }
  const { bavail, bsize } = statfsSync(directory)
  if (disk > bavail * bsize) return `needs ${size(disk)} of disk; ${size(bavail * bsize)} are free`
  return undefined
}
