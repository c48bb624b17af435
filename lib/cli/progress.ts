/** The progress bar. It appears only on a terminal, and disappears when the work is done. */

import { performance } from 'node:perf_hooks'
import process from 'node:process'
import cliProgress from 'cli-progress'
import { formatBytes, formatNumber } from './units.js'

/** A bar that counts bytes. All calls are cheap; the screen is refreshed a few times per second. */
export interface ProgressBar {
  /** `bytesTotal` corrects the initial total. */
  update(bytesDone: number, bytesTotal?: number): void
  /**
   * Removes the bar from the screen. Must be called on every exit path; further calls do nothing.
   */
  stop(): void
}

const silent: ProgressBar & StepBar = { update: () => {}, stop: () => {} }

const looks = {
  barCompleteChar: '━',
  barIncompleteChar: '─',
  barsize: 28,
  fps: 8,
  hideCursor: true,
  clearOnComplete: true,
  emptyOnZero: true,
  // main.ts handles signals: it aborts the work, and the work stops its bar.
  gracefulExit: false,
} as const

/** Starts a bar on stderr, or does nothing if stderr is not a terminal. */
export function startProgressBar(label: string, bytesTotal: number): ProgressBar {
  if (!process.stderr.isTTY) return silent
  let total = bytesTotal
  const begunMs = performance.now()
  const bar = new cliProgress.SingleBar({
    stream: process.stderr,
    format: `  ${label} {bar} {percentage}%  {done} of {all}  {speed}`,
    ...looks,
  })
  const payload = (bytesDone: number): object => {
    const seconds = (performance.now() - begunMs) / 1000
    return {
      done: formatBytes(bytesDone),
      all: formatBytes(total),
      // In the first moments any speed could appear.
      speed: seconds < 0.25 ? '' : `${formatNumber(bytesDone / 1e6 / seconds)} MB/s`,
    }
  }
  const stop = (): void => {
    process.removeListener('exit', stop)
    bar.stop()
  }
  // The bar hides the cursor, which must reappear even if process.exit() is called halfway.
  process.once('exit', stop)
  bar.start(total, 0, payload(0))
  return {
    update(bytesDone, bytesTotal = total) {
      if (bytesTotal !== total) {
        total = bytesTotal
        bar.setTotal(total)
      }
      bar.update(Math.min(bytesDone, total), payload(bytesDone))
    },
    stop,
  }
}

/** A bar that counts steps of several kinds, one kind after the other. */
export interface StepBar {
  update(label: string, done: number, total: number): void
  /** Like {@link ProgressBar.stop}. */
  stop(): void
}

/** Starts a step bar on stderr, or does nothing if stderr is not a terminal. */
export function startStepBar(label: string): StepBar {
  if (!process.stderr.isTTY) return silent
  const bar = new cliProgress.SingleBar({
    stream: process.stderr,
    format: '  {label} {bar} {value} of {total} frames',
    ...looks,
  })
  const stop = (): void => {
    process.removeListener('exit', stop)
    bar.stop()
  }
  process.once('exit', stop)
  bar.start(0, 0, { label })
  return {
    update(label, done, total) {
      bar.setTotal(total)
      bar.update(done, { label })
    },
    stop,
  }
}
