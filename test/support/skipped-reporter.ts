/**
 * Reports at the end which tests were skipped on this machine, and why. Vitest itself lists only
 * those of failed files.
 */

import type { Reporter, TestModule } from 'vitest/node'

export class SkippedReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[]): void {
    const byReason = new Map<string, string[]>()
    for (const module of modules) {
      for (const test of module.children.allTests('skipped')) {
        const outcome = test.result()
        // Without a reason: excluded by the filter of the command line.
        if (outcome.state !== 'skipped' || outcome.note === undefined) continue
        const names = byReason.get(outcome.note) ?? []
        byReason.set(outcome.note, [...names, `${module.relativeModuleId} > ${test.fullName}`])
      }
    }
    if (byReason.size === 0) return
    console.log('\nSkipped on this machine:')
    for (const [reason, names] of byReason) console.log([`  ${reason}`, ...names].join('\n      '))
  }
}
