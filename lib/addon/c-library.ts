/** Determines the C library of this process: each has a binary of its own. */

import { Buffer } from 'node:buffer'
import { closeSync, openSync, readSync } from 'node:fs'
import process from 'node:process'

export type CLibrary = 'glibc' | 'musl'

/**
 * The C libraries for which to try prebuilt binaries. The running executable names its dynamic
 * loader, which in turn names the C library: that takes two small reads. process.report takes
 * milliseconds, and is used only if the executable tells nothing (say, because the loader was
 * started by hand). If neither can tell, both libraries are tried, since a binary for the wrong one
 * does not load.
 */
export function candidateLibcs(executable = '/proc/self/exe'): CLibrary[] {
  const loader = programInterpreter(executable)
  if (loader !== undefined) return loader.includes('musl') ? ['musl'] : ['glibc']
  const header = reportHeader()
  if (header === undefined) return ['glibc', 'musl']
  return header.glibcVersionRuntime === undefined ? ['musl'] : ['glibc']
}

function reportHeader(): { glibcVersionRuntime?: string } | undefined {
  // Node has this property since 20.13; its types do not.
  const report = process.report as
    | (NodeJS.ProcessReport & { excludeNetwork?: boolean | undefined })
    | undefined
  if (report === undefined) return undefined
  const { excludeNetwork } = report
  // Otherwise the report may wait for name servers.
  report.excludeNetwork = true
  try {
    return (report.getReport() as { header?: { glibcVersionRuntime?: string } }).header
  } finally {
    report.excludeNetwork = excludeNetwork
  }
}

// Offsets in a 64-bit little-endian ELF file, and in one of its program headers (elf.h).
const elf = {
  headerLength: 64,
  programHeaders: 32,
  programHeaderLength: 54,
  programHeaderCount: 56,
  fileOffset: 8,
  fileLength: 32,
  interpreter: 3, // PT_INTERP
} as const

/** The path of the dynamic loader that an ELF executable requests, if any. */
function programInterpreter(executable: string): string | undefined {
  let fd: number | undefined
  try {
    fd = openSync(executable, 'r')
    const header = readAt(fd, 0, elf.headerLength)
    const stride = header.readUInt16LE(elf.programHeaderLength)
    const count = header.readUInt16LE(elf.programHeaderCount)
    const table = readAt(fd, Number(header.readBigUInt64LE(elf.programHeaders)), stride * count)
    for (let at = 0; at < table.length; at += stride) {
      if (table.readUInt32LE(at) !== elf.interpreter) continue
      const offset = Number(table.readBigUInt64LE(at + elf.fileOffset))
      // A longer value is not a path.
      const length = Math.min(Number(table.readBigUInt64LE(at + elf.fileLength)), 4096)
      return readAt(fd, offset, length).toString('latin1')
    }
  } catch {
    // The file is unreadable or not an ELF file: the caller asks elsewhere.
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
  return undefined
}

function readAt(fd: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  readSync(fd, bytes, 0, length, position)
  return bytes
}
