/** Probes for filesystem features that tests depend on. */

import { closeSync, constants, linkSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { snapshot } from 'stillframe'
import { clearFaults, injectFault } from './faults.mjs'

/** @param {string} directory */
export function hasLinks(directory) {
  const [file, other] = [join(directory, 'linked'), join(directory, 'linked-too')]
  writeFileSync(file, '')
  try {
    linkSync(file, other)
    return true
  } catch {
    return false
  } finally {
    rmSync(file)
    rmSync(other, { force: true })
  }
}

/**
 * True if the filesystem supports unnamed files (`O_TMPFILE`), which a crash does not leave behind.
 *
 * @param {string} directory
 */
export function hasNamelessFiles(directory) {
  // Node has no constant for O_TMPFILE.
  const flag = 0o20000000 | constants.O_DIRECTORY
  try {
    closeSync(openSync(directory, flag | constants.O_WRONLY))
    return true
  } catch {
    return false
  }
}

/**
 * True if an older file can be put back after the new one has taken its name: by exchanging the
 * names, or through a second name of the older file. Do not use it in a test that counts calls.
 *
 * @param {string} directory
 */
export async function putsBack(directory) {
  if (hasLinks(directory)) return true
  const file = join(directory, 'replaced')
  await snapshot(new Uint8Array(1), file, { durable: false }).done
  injectFault('linkat', 1000, 'EIO')
  await snapshot(new Uint8Array(1), file, { durable: false }).done
  const { linkat } = clearFaults()
  rmSync(file)
  // The new file tries a link first. The old file needs one only if the names could not be
  // exchanged.
  return linkat === 1
}

/**
 * Mode of a file that is created for its owner only. On FAT and similar filesystems, all files have
 * the mode of the mount.
 *
 * @param {string} directory
 */
export function privateMode(directory) {
  const file = join(directory, 'with-a-mode')
  writeFileSync(file, '', { mode: 0o600 })
  const { mode } = statSync(file)
  rmSync(file)
  return mode & 0o777
}
