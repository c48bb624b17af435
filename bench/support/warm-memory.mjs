// What a hypervisor does with memory that is free for a while is nobody's work, but somebody pays for it.
import { runProgram } from './disk.mjs'
import { MIB } from './pages.mjs'

const PIECE = 64 * MIB

/**
 * Uses so much memory for a moment. A hypervisor may have taken back what was free, and whoever uses it first pays for
 * getting it again: up to seconds per GiB, which are nobody's work.
 */
export const warmMemory = (byteLength) => {
  const touch = `Array.from({ length: ${Math.ceil(byteLength / PIECE)} }, () => Buffer.alloc(${PIECE}, 1))`
  return runProgram(process.execPath, ['--eval', touch])
}
