// Measures the disk itself with dd: an upper bound for all methods of saving and restoring.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { open, rm } from 'node:fs/promises'
import { MIB } from './pages.mjs'

const BLOCK = 4 * MIB
const PATIENCE_MS = 300_000

/**
 * Runs a program to its end, and returns its duration in milliseconds. If it fails, rejects with
 * the last line of its error output.
 */
export const runProgram = async (command, args, began = () => {}) => {
  const started = performance.now()
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: PATIENCE_MS })
  began(child.pid)
  let said = ''
  child.stderr.setEncoding('latin1').on('data', (text) => {
    said = (said + text).slice(-4096)
  })
  const [status, signal] = await once(child, 'close')
  if (status === 0) return performance.now() - started
  throw new Error(`${command}: ${said.trim().split('\n').at(-1) || (signal ?? `status ${status}`)}`)
}

/** True if the program is installed. */
export const isInstalled = (command) =>
  spawnSync(command, ['--version'], { stdio: 'ignore' }).error === undefined

/** Writes a file past the page cache; returns the milliseconds until it is durable. */
export const ddWrite = (path, byteLength) => {
  const count = Math.max(1, Math.floor(byteLength / BLOCK))
  const flags = ['oflag=direct', 'conv=fsync']
  return runProgram('dd', ['if=/dev/zero', `of=${path}`, 'bs=4M', `count=${count}`, ...flags])
}

/** Reads a file past the page cache; returns milliseconds. */
export const ddRead = (path) => runProgram('dd', [`if=${path}`, 'of=/dev/null', 'bs=4M', 'iflag=direct'])

/**
 * Asks the kernel to drop the file from the page cache, which needs no privileges. The file must be
 * durable.
 */
export const dropCache = (path) =>
  runProgram('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0'])

/** Makes a file durable that another program has written. */
export const syncFile = async (path) => {
  const file = await open(path, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}

/** Speed of writing and reading with dd, in MB/s, as text for the description of the machine. */
export const describeDisk = async (directory, byteLength) => {
  const path = `${directory}/disk`
  const speed = (ms) => `${Math.round(byteLength / 1000 / ms)} MB/s`
  try {
    const written = speed(await ddWrite(path, byteLength))
    const read = speed(await ddRead(path))
    return `dd past the page cache, 4 MiB blocks: writes ${written}, reads ${read}`
  } catch (error) {
    return `not measured: ${error.message}`
  } finally {
    await rm(path, { force: true })
  }
}
