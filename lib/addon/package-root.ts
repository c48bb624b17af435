/**
 * Locates the files of the package that are not JavaScript: the native addons. A bundler copies the
 * code elsewhere and leaves them behind.
 */

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, URL } from 'node:url'
import { StillframeError } from '../base/errors.js'

/**
 * The directory of package.json.
 *
 * @throws StillframeError `ERR_STILLFRAME_ABI` if this code is not inside its package.
 */
export function packageRoot(): string {
  // In a CommonJS bundle made by esbuild, this URL is undefined.
  const here: string | undefined = import.meta.url
  // lib/ and dist/ are both directly below package.json, and modules are one directory below them.
  const root = here?.startsWith('file:') ? fileURLToPath(new URL('../..', here)) : undefined
  if (root === undefined || packageName(root) !== 'stillframe') throw bundled(here)
  return root
}

/**
 * The directory of a build from source: the checkout, or the directory that the packed package has
 * for it.
 */
export function sourceRoot(root: string): string {
  return isCheckout(root) ? root : join(root, 'source')
}

/** True for a checkout, which is under development: only its own build counts there. */
export function isCheckout(root: string): boolean {
  return existsSync(join(root, 'binding.gyp'))
}

function packageName(root: string): unknown {
  try {
    return (JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { name?: unknown }).name
  } catch {
    return undefined
  }
}

function bundled(here: string | undefined): StillframeError {
  return new StillframeError(
    'ERR_STILLFRAME_ABI',
    'the code of stillframe has been bundled into another program, and its native addon cannot be found from there ' +
      `(import.meta.url is ${here}). Leave 'stillframe' out of the bundle and install it where the program runs: esbuild --external:stillframe, webpack ` +
      'externals, Rollup external, Vite ssr.external, Next.js serverExternalPackages (docs/BUNDLERS.md shows ' +
      'each). If the addon is elsewhere, set STILLFRAME_ADDON=/path/to/stillframe.node, and ' +
      'STILLFRAME_HEAP_ADDON for that of stillframe/heap.',
  )
}
