// The addons in build/Release, and whether they are up to date. Used by prepare.mjs and
// prepack.mjs.

import { existsSync, readdirSync, statSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import process from 'node:process'

const require = createRequire(import.meta.url)
const root = path.dirname(import.meta.dirname)

export const builtAddons = {
  stillframe: 'build/Release/stillframe.node',
  heap: 'build/Release/stillframe_heap.node',
}

/**
 * Returns why the addons do not match the sources and this Node, or undefined if they do.
 *
 * @param {string[]} alsoOlderThanThem - further files that the addons depend on.
 */
export function whyNotAsBuilt(alsoOlderThanThem = []) {
  const addons = Object.values(builtAddons)
  const absent = addons.find((file) => !existsSync(file))
  if (absent) return `${absent} does not exist`
  // make does not rebuild a binary that a change does not affect, so the latest one counts.
  const builtAt = Math.max(...addons.map((file) => statSync(file).mtimeMs))
  const changed = [...sources(), ...alsoOlderThanThem].find((file) => statSync(file).mtimeMs > builtAt)
  if (changed) return `${changed} is newer than the addons in build/Release`
  for (const file of addons) {
    try {
      require(path.join(root, file))
    } catch (error) {
      return `${file} does not load into Node ${process.version}: ${error.message}`
    }
  }
  return undefined
}

function sources() {
  const native = readdirSync('native', { recursive: true }).map((name) => `native/${name}`)
  return ['binding.gyp', ...native].filter(
    (file) => !file.startsWith('native/test') && statSync(file).isFile(),
  )
}
