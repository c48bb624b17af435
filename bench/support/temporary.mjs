// A directory for the snapshots of a benchmark, which is removed at its end.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'

export const withTemporaryDirectory = async (parent, use) => {
  mkdirSync(parent, { recursive: true })
  const directory = mkdtempSync(join(resolve(parent), 'stillframe-bench-'))
  const remove = () => rmSync(directory, { recursive: true, force: true })
  const stop = (signal) => {
    remove()
    process.kill(process.pid, signal)
  }
  process.once('SIGINT', stop).once('SIGTERM', stop)
  try {
    return await use(directory)
  } finally {
    process.off('SIGINT', stop).off('SIGTERM', stop)
    remove()
  }
}
