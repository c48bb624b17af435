/**
 * Work that a forked copy does for a service: a `snapshot` of memory, or a `job` of
 * stillframe/heap. Fixtures that behave alike with both get the kind as an argument.
 */

import { readFileSync } from 'node:fs'
import { fillPattern, hashOf } from './pattern.mjs'
import { waitUntil } from './processes.mjs'

/**
 * @typedef {object} HeldWork
 * @property {number} pid - of the copy.
 * @property {Promise<unknown>} done
 * @property {() => void} release
 * @property {() => Promise<void>} kill - kills the copy, and the copy that replaces it, if any.
 *
 * @typedef {object} Work
 * @property {(path: string, options?: { durable?: boolean }) => Promise<unknown>} run - saves
 *   something small and finishes.
 * @property {(path: string) => HeldWork} hold - waits halfway until it is released.
 * @property {(path: string) => Promise<boolean>} isIntact - true if the file holds what `run`
 *   saves, unchanged.
 */

/**
 * Loads only the addon that the work needs.
 *
 * @param {string | undefined} what - `snapshot` or `job`.
 * @returns {Promise<Work>}
 */
export async function workOf(what) {
  if (what === 'snapshot') return await snapshotWork()
  if (what === 'job') return await jobWork()
  throw new Error(`neither snapshot nor job: ${what}`)
}

/** @returns {Promise<Work>} */
async function snapshotWork() {
  const { Region, snapshot, verify } = await import('stillframe')
  const { bigRegion, holdSnapshot } = await import('./held-snapshot.mjs')
  const region = Region.allocate(4 << 20)
  fillPattern(region.buffer, 1)
  const hash = hashOf(region.buffer)
  return {
    run: async (path, options) => await snapshot(region, path, options).done,
    hold(path) {
      const { taken, pid, release } = holdSnapshot(bigRegion(), path)
      const kill = async () => void process.kill(pid, 'SIGKILL')
      return { pid, done: taken.done, release, kill }
    },
    isIntact: async (path) => (await verify(path)).ok && hashOf(region.buffer) === hash,
  }
}

/** @returns {Promise<Work>} */
async function jobWork() {
  const { snapshotState } = await import('stillframe/heap')
  const { holdJob } = await import('./held-job.mjs')
  return {
    run: async (path, options) => await snapshotState(path, (out) => out.write('state'), options).done,
    hold(path) {
      const { job, pid, release } = holdJob(path)
      const kill = async () => {
        process.kill(pid, 'SIGKILL')
        await waitUntil(() => job.pid !== pid, 'there is another copy')
        process.kill(job.pid, 'SIGKILL')
      }
      return { pid, done: job.done, release, kill }
    },
    isIntact: async (path) => readFileSync(path, 'utf8') === 'state',
  }
}
