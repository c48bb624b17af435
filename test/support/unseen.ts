/**
 * Catches unhandled rejections and uncaught exceptions of the process in place of the test runner.
 */

import { afterEach, beforeEach } from 'vitest'

/** Returns lists that are emptied before each test. */
export function catchUnseen(): { unhandled: unknown[]; uncaught: unknown[] } {
  const unhandled: unknown[] = []
  const uncaught: unknown[] = []
  const saved = { unhandledRejection: [] as unknown[], uncaughtException: [] as unknown[] }

  beforeEach(() => {
    unhandled.length = 0
    uncaught.length = 0
    // The test runner listens too, and would report the tested behavior as a failure.
    for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
      saved[event] = process.listeners(event as 'uncaughtException')
      process.removeAllListeners(event)
    }
    process.on('unhandledRejection', (reason) => unhandled.push(reason))
    process.on('uncaughtException', (error) => uncaught.push(error))
  })

  afterEach(() => {
    for (const event of ['unhandledRejection', 'uncaughtException'] as const) {
      process.removeAllListeners(event)
      for (const listener of saved[event]) process.on(event, listener as (error: unknown) => void)
    }
  })

  return { unhandled, uncaught }
}
