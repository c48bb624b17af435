/** A control group with little memory, for tests of what the kernel does when it is used up. */

import { accessSync, constants, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { onTestFinished, type TestContext } from 'vitest'
import { waitUntil } from './processes.mjs'

/** Root of the hierarchy and names of the limit and usage files: version 2 and version 1. */
const hierarchies = [
  ['/sys/fs/cgroup', 'memory.max', 'memory.current'],
  ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes', 'memory.usage_in_bytes'],
] as const

export interface MemoryCgroup {
  /** A fixture wrapper that runs its command in the group. */
  wrapper: string[]
  /** Sets the limit to the current usage plus `bytes`. */
  leave(bytes: number): void
}

/**
 * Makes a group for one test, which is skipped if the process may not make one.
 *
 * @returns the group, whose processes are limited to `bytes`.
 */
export function memoryCgroup(context: TestContext, bytes: number): MemoryCgroup {
  for (const [hierarchy, limit, usage] of hierarchies) {
    const group = `${hierarchy}/stillframe-test-${process.pid}`
    try {
      mkdirSync(group)
    } catch {
      continue
    }
    try {
      accessSync(`${group}/${limit}`, constants.W_OK)
      writeFileSync(`${group}/${limit}`, String(bytes))
      onTestFinished(async () => {
        const members = (): string => readFileSync(`${group}/cgroup.procs`, 'utf8')
        await waitUntil(() => members() === '', 'the control group is empty')
        rmdirSync(group)
      })
      return {
        wrapper: ['sh', '-c', `echo $$ > ${group}/cgroup.procs && exec "$@"`, 'sh'],
        leave(more) {
          const used = Number(readFileSync(`${group}/${usage}`, 'utf8'))
          writeFileSync(`${group}/${limit}`, String(used + more))
        },
      }
    } catch {
      rmdirSync(group)
    }
  }
  return context.skip('needs to be allowed to make a memory cgroup')
}
