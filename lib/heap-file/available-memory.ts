/**
 * Memory that this process can still use. Unlike in `process.availableMemory()`, page cache does
 * not count as used memory of a cgroup, since reading a large file would fill the cgroup with it.
 */

import { readFileSync } from 'node:fs'
import { freemem } from 'node:os'
import { dirname, join } from 'node:path'
import process from 'node:process'

export function availableMemory(): number {
  return Math.min(freemem(), availableInCgroup(), availableByOldCgroup())
}

/** cgroup v2: the least memory available in the group and its ancestors. */
function availableInCgroup(): number {
  const group = /^0::(\/.*)$/m.exec(read('/proc/self/cgroup'))?.[1]
  let least = Number.POSITIVE_INFINITY
  if (group === undefined) return least
  for (let path = group; ; path = dirname(path)) {
    const file = (name: string): string => read(join('/sys/fs/cgroup', path, name))
    const max = Number.parseInt(file('memory.max'), 10)
    if (!Number.isNaN(max)) {
      const cached = Number(/^file (\d+)$/m.exec(file('memory.stat'))?.[1] ?? 0)
      least = Math.min(least, max - Number.parseInt(file('memory.current'), 10) + cached)
    }
    if (path === '/' || path === '.') return Number.isNaN(least) ? Number.POSITIVE_INFINITY : least
  }
}

/** cgroup v1, as reported by libuv. */
function availableByOldCgroup(): number {
  // 0 and 2^64 mean no limit.
  const limit = process.constrainedMemory?.() ?? 0
  return limit > 0 && limit < 2 ** 62 ? limit - process.memoryUsage.rss() : Number.POSITIVE_INFINITY
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}
