import { defineConfig } from 'vitest/config'
import { SkippedReporter } from './test/support/skipped-reporter.js'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/suite-directory.ts',
    reporters: ['default', new SkippedReporter()],
    // Many tests fork, fill memory and watch processes: each file has a process of its own. Much of the time they wait, so
    // that a third file costs little; more would ask for memory that a small machine does not have.
    pool: 'forks',
    maxWorkers: 3,
    // Processes are stopped and killed at chosen moments: on a machine that is shared, one of hundreds may be
    // missed. What fails twice has failed.
    retry: process.env['CI'] ? 1 : 0,
    // Most tests are about what a copy of the call's instant is. Those about V8's threads being busy then go without.
    env: { STILLFRAME_DISABLE: process.env['STILLFRAME_DISABLE'] ?? 'bounded_park' },
    // For what hangs. A busy machine takes ten times as long as an idle one.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
})
