/** A control group with little memory, for what the kernel does when it is used up. */

import { accessSync, constants, mkdirSync, rmdirSync, writeFileSync } from 'node:fs'
import { onTestFinished, type TestContext } from 'vitest'

/** Where groups are made, and what their limit is called: version 2 and version 1. */
const hierarchies = [
  ['/sys/fs/cgroup', 'memory.max'],
  ['/sys/fs/cgroup/memory', 'memory.limit_in_bytes'],
] as const

/**
 * Makes a group for one test, which is skipped where that is not allowed.
 *
 * @returns a wrapper for a fixture: what it runs has no more than so many bytes.
 */
export function memoryCgroup(context: TestContext, bytes: number): string[] {
  for (const [hierarchy, limit] of hierarchies) {
    const group = `${hierarchy}/stillframe-test-${process.pid}`
    try {
      mkdirSync(group)
    } catch {
      continue
    }
    try {
      accessSync(`${group}/${limit}`, constants.W_OK)
      writeFileSync(`${group}/${limit}`, String(bytes))
      onTestFinished(() => rmdirSync(group))
      return ['sh', '-c', `echo $$ > ${group}/cgroup.procs && exec "$@"`, 'sh']
    } catch {
      rmdirSync(group)
    }
  }
  context.skip('needs to be allowed to make a memory cgroup')
  return []
}
