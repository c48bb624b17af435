/** The progress bar: on a terminal only, gone when the work is done. */

import { performance } from 'node:perf_hooks'
import process from 'node:process'
import cliProgress from 'cli-progress'
import { formatBytes, formatNumber } from './units.js'

/** A bar that counts bytes. All calls are cheap; the screen is refreshed a few times a second. */
export interface ProgressBar {
  /** `bytesTotal` corrects what the bar was started with. */
  update(bytesDone: number, bytesTotal?: number): void
  /**
   * Removes the bar from the screen. Must be called on every way out; calling it again does
   * nothing.
   */
  stop(): void
}

const silent: ProgressBar = { update: () => {}, stop: () => {} }

/** Starts a bar on stderr, or does nothing when stderr is not a terminal. */
export function startProgressBar(label: string, bytesTotal: number): ProgressBar {
  if (!process.stderr.isTTY) return silent
  let total = bytesTotal
  const begunMs = performance.now()
  const bar = new cliProgress.SingleBar({
    stream: process.stderr,
    format: `  ${label} {bar} {percentage}%  {done} of {all}  {speed}`,
    barCompleteChar: '━',
    barIncompleteChar: '─',
    barsize: 28,
    fps: 8,
    hideCursor: true,
    clearOnComplete: true,
    emptyOnZero: true,
    // Signals are main.ts's business: it aborts the work, and the work stops its bar.
    gracefulExit: false,
  })
  const payload = (bytesDone: number): object => {
    const seconds = (performance.now() - begunMs) / 1000
    return {
      done: formatBytes(bytesDone),
      all: formatBytes(total),
      // The first moments would show any speed at all.
      speed: seconds < 0.25 ? '' : `${formatNumber(bytesDone / 1e6 / seconds)} MB/s`,
    }
  }
  const stop = (): void => {
    process.removeListener('exit', stop)
    bar.stop()
  }
  // The bar hides the cursor: even process.exit() in the middle must bring it back.
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
