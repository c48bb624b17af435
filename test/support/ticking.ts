/** Counts turns of the event loop: the service must stay responsive whatever its copies do. */

import { onTestFinished } from 'vitest'

/** @returns the number of 10 ms ticks that the event loop has run since the start. */
export function startTicking(): () => number {
  let ticks = 0
  const timer = setInterval(() => ticks++, 10)
  onTestFinished(() => clearInterval(timer))
  return () => ticks
}
