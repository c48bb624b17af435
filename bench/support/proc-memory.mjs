// Reads the memory of processes from /proc.
import { readdirSync, readFileSync } from 'node:fs'

const field = (text, name) => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) * 1024

const rollup = (pid) => readFileSync(`/proc/${pid}/smaps_rollup`, 'latin1')

/** Bytes of this process in huge pages. */
export const hugePageBytes = () => field(rollup('self'), 'AnonHugePages')

/** A process and all of its forked descendants. */
const family = (pid) => {
  const pids = [pid]
  for (const each of pids) {
    for (const task of readdirSync(`/proc/${each}/task`)) {
      const children = readFileSync(`/proc/${each}/task/${task}/children`, 'latin1')
      pids.push(...children.split(' ').filter(Boolean).map(Number))
    }
  }
  return pids
}

const isGone = (error) => error.code === 'ENOENT' || error.code === 'ESRCH'

/**
 * Memory of a process and its descendants, in bytes; a page shared by several of them counts once.
 * Undefined if one of them ended meanwhile, since pages may then have been counted twice.
 */
export const proportionalBytes = (pid) => {
  try {
    return family(pid).reduce((sum, each) => sum + field(rollup(each), 'Pss'), 0)
  } catch (error) {
    if (isGone(error)) return undefined
    throw error
  }
}
