/** Destinations of extracted bytes: a file that appears completely or not at all, or stdout. */

import { randomBytes } from 'node:crypto'
import { fstatSync, rmSync, write as writeFd } from 'node:fs'
import { type FileHandle, link, lstat, open, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import process from 'node:process'
import { promisify } from 'node:util'
import { printable } from '../../base/printable.js'
import { CommandError } from '../command.js'

/** Takes bytes in order. A file sink that is disposed of before `commit` leaves no trace. */
export interface ByteSink extends AsyncDisposable {
  /** Resolves when all of `bytes` has been written; the caller may then unmap them. */
  write(bytes: Uint8Array): Promise<void>
  /** Called after all writes: makes the bytes durable, and visible under the file's name. */
  commit(): Promise<void>
}

/**
 * A sink that becomes the file `output`.
 *
 * @throws CommandError if `output` exists and `replace` is false, or if it is not a regular file.
 */
export async function openFileSink(output: string, replace: boolean): Promise<ByteSink> {
  await checkTarget(output, replace)
  const path = resolve(output)
  // In the same directory, since rename(2) is atomic only within one filesystem.
  const temporary = join(dirname(path), `.stillframe-${randomBytes(8).toString('hex')}.sf.tmp`)
  const removeNow = (): void => rmSync(temporary, { force: true })
  // process.exit() runs no finally blocks.
  process.once('exit', removeNow)
  let file: FileHandle
  try {
    file = await open(temporary, 'wx', 0o600)
  } catch (error) {
    process.removeListener('exit', removeNow)
    throw new CommandError(`${printable(output)} cannot be written: ${messageOf(error)}`)
  }
  return {
    async write(bytes) {
      // A full disk accepts part of a write before it refuses the rest.
      for (let written = 0; written < bytes.length; ) {
        written += someOf((await file.write(bytes, written)).bytesWritten)
      }
    },
    async commit() {
      await file.sync()
      if (replace) await rename(temporary, path)
      else await publishNew(temporary, path)
      await syncDirectory(dirname(path))
    },
    async [Symbol.asyncDispose]() {
      await file.close()
      // After a commit by rename there is nothing left to remove.
      await rm(temporary, { force: true })
      process.removeListener('exit', removeNow)
    },
  }
}

/**
 * Gives the file its name unless another process has taken it in the meantime: link(2) never
 * replaces a file.
 */
async function publishNew(temporary: string, path: string): Promise<void> {
  try {
    await link(temporary, path)
  } catch (error) {
    if (codeOf(error) === 'EEXIST') throw alreadyExists(path)
    // FAT and many FUSE filesystems have no links, and report it with various errors. There, too,
    // no other file is replaced: only the empty placeholder that is created here.
    if (meantErrors.includes(codeOf(error))) throw error
    await renameOverPlaceholder(temporary, path)
  }
}

/** Errors of link(2) that do not mean that the filesystem lacks links. */
const meantErrors = ['ENOENT', 'ENOSPC', 'EDQUOT', 'EROFS', 'EACCES', 'ENOMEM', 'EBUSY']

async function renameOverPlaceholder(temporary: string, path: string): Promise<void> {
  try {
    await (await open(path, 'wx', 0o600)).close()
  } catch (error) {
    throw codeOf(error) === 'EEXIST' ? alreadyExists(path) : error
  }
  try {
    await rename(temporary, path)
  } catch (error) {
    await rm(path, { force: true })
    throw error
  }
}

async function checkTarget(output: string, replace: boolean): Promise<void> {
  const stats = await lstat(output).catch((error: unknown) => {
    if (codeOf(error) === 'ENOENT') return undefined
    throw new CommandError(`${printable(output)} cannot be written: ${messageOf(error)}`)
  })
  if (stats === undefined) return
  // rename(2) would replace /dev/null as readily as any other file.
  if (stats.isDirectory()) throw new CommandError(`${printable(output)} is a directory`)
  if (!stats.isFile())
    throw new CommandError(`${printable(output)} is not a regular file, so it is not replaced`)
  if (!replace) throw alreadyExists(output)
}

function alreadyExists(output: string): CommandError {
  return new CommandError(`${printable(output)} exists; --force replaces it`)
}

async function syncDirectory(path: string): Promise<void> {
  // Windows cannot open directories.
  if (process.platform === 'win32') return
  const directory = await open(path)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** A sink that writes to stdout. */
export function openStdoutSink(signal: AbortSignal): ByteSink {
  const write = fstatSync(1).isFile() ? writeToFile : (bytes: Uint8Array) => writeToStream(bytes, signal)
  return {
    write,
    async commit() {},
    async [Symbol.asyncDispose]() {},
  }
}

const writeDescriptor = promisify(writeFd)

/**
 * process.stdout mistakes a short write to a file for a complete one, which on a full disk would
 * lose the end.
 */
async function writeToFile(bytes: Uint8Array): Promise<void> {
  for (let written = 0; written < bytes.length; ) {
    written += someOf((await writeDescriptor(1, bytes, written)).bytesWritten)
  }
}

/** Fails on a write of zero bytes, which would otherwise be retried forever. */
function someOf(bytesWritten: number): number {
  if (bytesWritten === 0) throw new CommandError('a write wrote nothing: the filesystem may be full')
  return bytesWritten
}

/** Waits for the reader, but not after an abort. */
function writeToStream(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error)
    signal.addEventListener('abort', onAbort, { once: true })
    // A copy: after an abort the stream still holds the bytes while the mapping goes away.
    process.stdout.write(Uint8Array.from(bytes), (error) => {
      signal.removeEventListener('abort', onAbort)
      if (error) reject(error)
      else resolve()
    })
  })
}

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : ''
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
