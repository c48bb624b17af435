/**
 * A job of stillframe/heap whose copy waits halfway, so that a test has as much time as it needs.
 */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { snapshotState } from 'stillframe/heap'
import { spinUntil } from './processes.mjs'

/**
 * More than the copy buffers in memory. Once these bytes are written, so is everything that
 * precedes them.
 */
const firstBytes = 2 << 20
/** Written after the first bytes. */
export const heldText = 'held'

/**
 * Starts a job and waits until its copy is waiting. Each copy waits until `release` is called, for
 * five minutes at most: longer than a test waits for the end of a copy that should have ended.
 *
 * @param {string} path
 * @param {Parameters<typeof snapshotState>[2]} [options]
 */
export function holdJob(path, options) {
  const directory = mkdtempSync(join(tmpdir(), 'stillframe-gate-'))
  const gate = join(directory, 'open')
  const nothing = new Int32Array(new SharedArrayBuffer(4))
  const job = snapshotState(
    path,
    (out) => {
      out.write(new Uint8Array(firstBytes))
      for (let slice = 0; slice < 30_000 && !existsSync(gate); slice++) Atomics.wait(nothing, 0, 0, 10)
      out.write(heldText)
    },
    // At the default niceness it would get no processor for seconds on a busy machine.
    { nice: 0, ...options },
  )
  spinUntil(() => job.progress.bytesWritten >= firstBytes, 'the copy has begun to write')
  job.done.catch(() => {}).finally(() => rmSync(directory, { recursive: true, force: true }))
  const release = () => writeFileSync(gate, '')
  return { job, pid: job.pid, release }
}
