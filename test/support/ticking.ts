/** Counts how often the event loop has turned: the service must answer whatever its copies do. */

import { onTestFinished } from 'vitest'

/** @returns how many times 10 ms have been noticed since. */
export function startTicking(): () => number {
  let ticks = 0
  const timer = setInterval(() => ticks++, 10)
  onTestFinished(() => clearInterval(timer))
  return () => ticks
}
