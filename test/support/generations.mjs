/** A service that saves its state again and again until it is killed. */

import { readdirSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { report } from './report.mjs'

/**
 * Saves one generation after another to one path, and reports each that has been saved. After the
 * first, it also reports what its predecessor left under the published name and next to it. Does
 * not return.
 *
 * @param {string} path
 * @param {{ found: boolean, exact?: boolean, generation: number }} before - the whole generation
 *   found under the published name; generation 0 if there was none.
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
