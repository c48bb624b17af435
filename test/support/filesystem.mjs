/** What the filesystem of a directory can do, of that which tests ask for. */

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
 * Files without a name (`O_TMPFILE`), which a crash does not leave.
 *
 * @param {string} directory
 */
export function hasNamelessFiles(directory) {
  // Node has no name for it.
  const flag = 0o20000000 | constants.O_DIRECTORY
  try {
    closeSync(openSync(directory, flag | constants.O_WRONLY))
    return true
  } catch {
    return false
  }
}

/**
 * Whether an older file can be put back when the new one has its name already: by an exchange of names, or by a second name of the
 * older one. Not in a test that counts calls.
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
  // The new file asks for a link first. The old one does only where they could not be exchanged.
  return linkat === 1
}

/**
 * The mode that a file has which is made for its owner only: on FAT and its like all files have that of the mount.
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
