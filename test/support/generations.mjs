/** What a service does that saves its state again and again until it is killed. */

import { readdirSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { report } from './report.mjs'

/**
 * Saves one generation after the other to one path, and tells of each that is there. Of the first it tells what its
 * predecessor left: under the published name, and beside it. Does not return.
 *
 * @param {string} path
 * @param {{ found: boolean, exact?: boolean, generation: number }} before - the whole generation that stood under the
 *   published name; generation 0 when there was none.
 * @param {(generation: number) => Promise<unknown>} save
 */
export async function saveGenerations(path, before, save) {
  const first = before.generation + 1
  for (let generation = first; ; generation++) {
    await save(generation)
    if (generation === first) {
      const others = readdirSync(dirname(path)).filter((name) => name !== basename(path))
      report({ before, others })
    }
    report({ generation })
  }
}
