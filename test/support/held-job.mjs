/** A job of stillframe/heap whose copy waits in the middle, so that a test has all the time it wants. */

import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { snapshotState } from 'stillframe/heap'
import { spinUntil } from './processes.mjs'

/** More than the copy keeps in memory: once it has been written, so has been the rest of what begins a copy. */
const firstBytes = 2 << 20
/** Written behind these. */
export const heldText = 'held'

/**
 * Starts a job, and waits until its copy waits. Each copy of it waits until `release` is called, or for a minute.
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
      for (let slice = 0; slice < 6000 && !existsSync(gate); slice++) Atomics.wait(nothing, 0, 0, 10)
      out.write(heldText)
    },
    // With the usual niceness it would get no processor for seconds on a busy machine.
    { nice: 0, ...options },
  )
  spinUntil(() => job.progress.bytesWritten >= firstBytes, 'the copy has begun to write')
  job.done.catch(() => {}).finally(() => rmSync(directory, { recursive: true, force: true }))
  const release = () => writeFileSync(gate, '')
  return { job, pid: job.pid, release }
}
