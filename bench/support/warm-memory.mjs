// A hypervisor may reclaim free memory, and the next user of that memory pays for getting it back.
import { runProgram } from './disk.mjs'
import { MIB } from './pages.mjs'

const PIECE = 64 * MIB

/**
 * Uses that much memory for a moment. A hypervisor may have reclaimed free memory, and the first
 * user pays for getting it back: up to seconds per GiB, which no measurement should include.
 */
export const warmMemory = (byteLength) => {
  const touch = `Array.from({ length: ${Math.ceil(byteLength / PIECE)} }, () => Buffer.alloc(${PIECE}, 1))`
  return runProgram(process.execPath, ['--eval', touch])
}
