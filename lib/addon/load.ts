/**
 * Finds and loads the native addon: on first use and never at import, so that a program that merely
 * imports the package starts on any platform.
 *
 * If the environment variable STILLFRAME_ADDON names a file, only that is tried. Otherwise these
 * are tried in order: the prebuilt binary of the package; the result of a source build in
 * source/build/Release. In a checkout only its own build is tried. The addon uses nothing but
 * Node-API, so one binary serves every supported Node.
 */

import { existsSync, readdirSync } from 'node:fs'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { messageOf, StillframeError } from '../base/errors.js'
import type { Addon } from './addon.js'
import { candidateLibcs } from './c-library.js'
import { isCheckout, packageRoot, sourceRoot } from './package-root.js'
import { addonVariable } from './privileges.js'

// Captured at import: the addon is loaded late, and the service may have removed it from `process`
// by then.
const { getBuiltinModule } = process

const addonName = 'stillframe.node'
const architectures: readonly string[] = ['x64', 'arm64']

let loaded: Addon | undefined

/**
 * Returns the native addon; loaded once per thread. A failed attempt is not remembered.
 *
 * @throws StillframeError `ERR_STILLFRAME_UNSUPPORTED_PLATFORM`, or `ERR_STILLFRAME_ABI` if no
 *   binary loads into this Node.
 */
export function loadAddon(): Addon {
  loaded ??= load()
  return loaded
}

/** A place where the addon may be, and the outcome of trying it. */
interface Attempt {
  file: string
  /** First line of the loader's error, or the reason why the file was not even opened. */
  outcome: string
}

/**
 * @internal
 * @throws StillframeError on a platform that has no addon.
 */
export function checkPlatform(): void {
  const { platform, arch } = process
  if (!hasPlatform()) {
    throw new StillframeError(
      'ERR_STILLFRAME_UNSUPPORTED_PLATFORM',
      `stillframe works on Linux (${architectures.join(', ')}), this is ${platform} ${arch}. ` +
        'Run the service there, or call stillframe only on that platform; stillframe/reader can read ' +
        'snapshots here.',
    )
  }
}

/** @internal True if there can be an addon on this platform. */
export function hasPlatform(): boolean {
  return process.platform === 'linux' && architectures.includes(process.arch)
}

/** Throws if Node loads no addons at all, so that nobody looks for the fault in a file. */
function refuseWithoutAddons(error: unknown): void {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_DLOPEN_DISABLED') return
  throw new StillframeError(
    'ERR_STILLFRAME_ABI',
    'the native addon cannot be loaded, because Node does not allow addons. Start it with --allow-addons ' +
      'in addition to --permission, and without --no-addons. stillframe/reader can read snapshots without ' +
      'the addon.',
    { cause: error },
  )
}

function load(): Addon {
  checkPlatform()
  const attempts: Attempt[] = []
  const explicit = addonVariable('STILLFRAME_ADDON')
  // A named binary is used or refused: loading another one instead would hide the mistake.
  if (explicit) {
    const addon = tryLoad(explicit, attempts)
    if (addon !== undefined) return addon
    throw cannotLoad(attempts, 'STILLFRAME_ADDON names this file: correct the variable or unset it.')
  }

  const root = packageRoot()
  for (const file of prebuilt(root, addonName)) {
    const addon = tryLoad(file, attempts)
    if (addon !== undefined) return addon
  }
  const addon = tryBuild(sourceRoot(root), attempts)
  if (addon !== undefined) return addon
  throw cannotLoad(
    attempts,
    `${whatThereIs(root)}Install the package again, or build it from source: run "npx node-gyp rebuild" in ` +
      `${sourceRoot(root)} (needs Python, make and a C++20 compiler). If the addon is elsewhere, set ` +
      'STILLFRAME_ADDON=/path/to/stillframe.node. stillframe/reader can read snapshots without the addon.',
  )
}

function tryLoad(file: string, attempts: Attempt[]): Addon | undefined {
  const { exports, outcome } = tryFile(file)
  try {
    if (outcome === undefined) return checked(exports)
    attempts.push({ file, outcome })
  } catch (error) {
    attempts.push({ file, outcome: firstLine(error) })
  }
  return undefined
}

/** @internal The exports of a native module, or the reason why it could not be loaded. */
export function tryFile(file: string): { exports?: unknown; outcome?: string } {
  if (!existsSync(file)) return { outcome: 'does not exist' }
  try {
    const path = resolve(file)
    return { exports: requireAt(path)(path) as unknown }
  } catch (error) {
    refuseWithoutAddons(error)
    return { outcome: firstLine(error) }
  }
}

/** Bundlers replace an imported `createRequire` with their own, which loads no addons. */
function requireAt(file: string): NodeJS.Require {
  return getBuiltinModule('node:module').createRequire(file)
}

/** @internal Paths of the binaries of that name that came with the package. */
export function prebuilt(root: string, name: string): string[] {
  if (isCheckout(root)) return []
  const { platform, arch } = process
  return candidateLibcs().map((libc) => join(root, 'prebuilds', `${platform}-${arch}-${libc}`, name))
}

/** @internal Human-readable description of the platform that a binary must match. */
export function describePlatform(): string {
  return `${process.platform} ${process.arch}, ${candidateLibcs().join(' or ')}`
}

/**
 * @internal A sentence about the binaries that came with the package; empty in a checkout, where
 * none are looked for. It distinguishes an installation that lost them from a platform that has
 * none.
 */
export function whatThereIs(root: string): string {
  if (isCheckout(root)) return ''
  const directory = join(root, 'prebuilds')
  // An archive reader such as Yarn's lists files that the system cannot load.
  if (/\.zip[/\\]/.test(root)) return `${root} is inside an archive: tell Yarn to unplug stillframe. `
  const platforms = existsSync(directory) ? readdirSync(directory) : []
  if (platforms.length === 0)
    return `There are no binaries in ${directory}, although the package comes with some. `
  return `The package has binaries for ${platforms.join(', ')}. `
}

/** Loads a build from source, found by the `bindings` package. */
function tryBuild(directory: string, attempts: Attempt[]): Addon | undefined {
  const file = join(directory, 'build', 'Release', addonName)
  try {
    const bindings = requireAt(file)('bindings') as (options: object) => unknown
    // By default `bindings` tries the Debug directory first, and a forgotten debug build would win.
    return checked(
      bindings({
        bindings: addonName,
        module_root: directory,
        try: [['module_root', 'build', 'Release', 'bindings']],
      }),
    )
  } catch (error) {
    refuseWithoutAddons(error)
    attempts.push({ file, outcome: existsSync(file) ? firstLine(error) : 'does not exist' })
    return undefined
  }
}

/** Rejects a file of that name that is not a stillframe addon or belongs to another version. */
function checked(exports: unknown): Addon {
  const addon = exports as Partial<Addon>
  if (typeof addon.Capture !== 'function' || typeof addon.RegionHandle !== 'function') {
    throw new Error('loaded, but it is not the addon of this version of stillframe')
  }
  return addon as Addon
}

function cannotLoad(attempts: readonly Attempt[], advice: string): StillframeError {
  const tried = attempts.map(({ file, outcome }) => `  ${file}: ${outcome}`).join('\n')
  return new StillframeError(
    'ERR_STILLFRAME_ABI',
    `the native addon cannot be loaded into Node ${process.version} (${describePlatform()}, ` +
      `Node-API ${process.versions.napi ?? 'unknown'}). Tried:\n${tried}\n${advice}`,
    { path: attempts.length === 1 ? attempts[0]?.file : undefined },
  )
}

function firstLine(error: unknown): string {
  return messageOf(error).split('\n')[0] ?? ''
}
