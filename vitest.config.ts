import { defineConfig } from 'vitest/config'
import { SkippedReporter } from './test/support/skipped-reporter.js'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: 'test/support/suite-directory.ts',
    reporters: ['default', new SkippedReporter()],
    // Many tests fork, fill memory and watch processes, so each file runs in its own process. They
    // spend much of their time waiting, so a third file costs little. More would need memory that a
    // small machine does not have.
    pool: 'forks',
    maxWorkers: 3,
    // Tests stop and kill processes at chosen moments. On a shared machine, one in hundreds may be
    // missed. A test that fails twice has failed.
    retry: process.env['CI'] ? 1 : 0,
    // Most tests need a copy of the very instant of the call. Tests about busy V8 threads clear
    // this.
    env: { STILLFRAME_DISABLE: process.env['STILLFRAME_DISABLE'] ?? 'bounded_park' },
    // Only for tests that hang: a busy machine takes ten times as long as an idle one.
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
})
