/** Small files that exist as a whole or not at all, even after a power loss. */

import { Buffer } from 'node:buffer'
import { constants } from 'node:fs'
import { type FileHandle, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { fromSystem, StillframeError } from '../base/errors.js'

/** Suffix of the name of a file that is being written. */
export const temporarySuffix = '.tmp'

const noSpace = new Set(['ENOSPC', 'EDQUOT', 'EFBIG'])

/** @internal Converts an error of a `node:fs` function to a StillframeError. */
export function fromFile(error: unknown, path: string): unknown {
  const { code } = error as NodeJS.ErrnoException
  if (code === undefined || !noSpace.has(code)) return fromSystem(error, path)
  const { errno, syscall, message } = error as NodeJS.ErrnoException
  return new StillframeError(
    'ERR_STILLFRAME_NO_SPACE',
    `${path}: ${message}. Free disk space, or raise the quota.`,
    {
      errno,
      errnoName: code,
      syscall,
      path,
      cause: error,
    },
  )
}

/**
 * Writes a file under a temporary name, syncs it to disk and renames it. The new name reaches the
 * disk only when the directory has been synced too.
 */
export async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = path + temporarySuffix
  try {
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW
    const file = await open(temporary, flags, 0o600)
    try {
      await writeAll(file, Buffer.from(text))
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await removeFile(temporary).catch(() => {})
    throw fromFile(error, path)
  }
}

/** Writes all bytes, starting at an offset in the file. Continues a write that was cut short. */
export async function writeAll(file: FileHandle, bytes: Uint8Array, offset = 0): Promise<void> {
  for (let at = 0; at < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, at, bytes.length - at, offset + at)
    at += bytesWritten
  }
}

/** Syncs the names in a directory to disk. */
export async function syncDirectory(directory: string): Promise<void> {
  try {
    const opened = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY)
    try {
      await opened.sync().catch((error: NodeJS.ErrnoException) => {
        // Directories of this filesystem cannot be synced, and need not be.
        if (error.code !== 'EINVAL') throw error
      })
    } finally {
      await opened.close()
    }
  } catch (error) {
    throw fromFile(error, directory)
  }
}

/** {@link syncDirectory} of the directory that a file is in. */
export async function syncName(path: string): Promise<void> {
  await syncDirectory(dirname(path))
}

/** Removes a file. It is not an error if the file does not exist. */
export async function removeFile(path: string): Promise<void> {
  await rm(path, { force: true }).catch((error: unknown) => {
    throw fromFile(error, path)
  })
}
