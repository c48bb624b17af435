/**
 * What the kernel was told about the mappings under some memory: the flag "dc" (MADV_DONTFORK) of
 * /proc/self/smaps. Nothing of the package takes part, so that it cannot fool the test.
 */

import { closeSync, openSync, readFileSync, readSync } from 'node:fs'
import { Random } from './seed.js'

interface MappingOfProcess {
  readonly start: number
  readonly end: number
  readonly writable: boolean
  readonly dontFork: boolean
}

function mappings(): MappingOfProcess[] {
  const entries = readFileSync('/proc/self/smaps', 'latin1').split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
  return entries.map((entry) => {
    const head = /^([0-9a-f]+)-([0-9a-f]+) (....)/.exec(entry)
    return {
      start: Number.parseInt(head?.[1] ?? '', 16),
      end: Number.parseInt(head?.[2] ?? '', 16),
      writable: head?.[3]?.startsWith('rw') ?? false,
      dontFork: /^VmFlags:.* dc\b/m.test(entry),
    }
  })
}

/**
 * Where in the address space memory lies: JavaScript cannot say, so it is searched for through /proc/self/mem by
 * its first bytes, which are overwritten. Looks at mappings of at least the size of the memory.
 */
export function addressOf(bytes: Uint8Array): number {
  const random = new Random(bytes.length ^ Date.now())
  const mark = bytes.subarray(0, 32)
  random.fill(mark)
  const memory = openSync('/proc/self/mem', 'r')
  try {
    const found = mappings()
      .filter(({ writable, start, end }) => writable && end - start >= bytes.length)
      .flatMap((mapping) => search(memory, mapping, mark))
    // Copies (such as the buffer that was just read into) do not follow when the original changes.
    random.fill(mark)
    const originals = found.filter((at) => read(memory, at, mark.length).equals(mark))
    if (originals.length !== 1) throw new Error(`found the memory at ${originals.length} places`)
    return originals[0] as number
  } finally {
    closeSync(memory)
  }
}

function search(memory: number, { start, end }: MappingOfProcess, mark: Uint8Array): number[] {
  const window = 1 << 20
  const found: number[] = []
  for (let at = start; at < end; at += window) {
    // With a tail, for marks across the border of two windows.
    const bytes = read(memory, at, Math.min(window + mark.length - 1, end - at))
    for (let i = bytes.indexOf(mark); i >= 0; i = bytes.indexOf(mark, i + 1)) found.push(at + i)
  }
  return [...new Set(found)]
}

function read(memory: number, at: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  try {
    return bytes.subarray(0, readSync(memory, bytes, 0, length, at))
  } catch {
    return bytes.subarray(0, 0) // unmapped in between
  }
}

/** For each mapping under these bytes, whether it is kept out of child processes; without repetitions. */
export function dontForkMarks(address: number, byteLength: number): boolean[] {
  const under = mappings().filter(({ start, end }) => start < address + byteLength && address < end)
  if (under.length === 0) throw new Error('nothing is mapped there')
  return [...new Set(under.map(({ dontFork }) => dontFork))]
}
