/** The demo's environment: the filesystem of a directory, and a description of the machine. */

import { access, constants, readFile, realpath } from 'node:fs/promises'
import { availableParallelism, release, tmpdir } from 'node:os'
import process from 'node:process'

/** The filesystem of a directory. */
export interface FileSystem {
  /** `'ext4'`, `'tmpfs'`, … */
  type: string
  /** The mounted source, usually a device. */
  source: string
  mountPoint: string
  /**
   * True if its files are memory: measurements say nothing about a disk, and the files take memory
   * that the demo needs.
   */
  inMemory: boolean
}

/** Finds the filesystem of an existing directory: the mount with the longest matching path. */
export async function fileSystemOf(directory: string): Promise<FileSystem> {
  const path = await realpath(directory)
  let found: FileSystem = { type: 'unknown', source: 'unknown', mountPoint: '/', inMemory: false }
  // Without a readable /proc the filesystem remains unknown.
  const mounts = await readFile('/proc/self/mountinfo', 'utf8').catch(() => '')
  for (const line of mounts.split('\n')) {
    // "36 35 98:0 /root /mount/point rw,noatime shared:1 - ext4 /dev/sda1 rw": see proc(5).
    const [mount, device] = line.split(' - ')
    const mountPoint = unescapeMount(mount?.split(' ')[4] ?? '')
    const [type, source] = (device ?? '').split(' ')
    if (mountPoint === '' || type === undefined || source === undefined) continue
    const inside =
      path === mountPoint || path.startsWith(mountPoint.endsWith('/') ? mountPoint : `${mountPoint}/`)
    // A later mount on the same point hides the earlier one.
    if (inside && mountPoint.length >= found.mountPoint.length) {
      found = { type, source: unescapeMount(source), mountPoint, inMemory: /^(tmpfs|ramfs)$/.test(type) }
    }
  }
  return found
}

/** Decodes the octal escapes that mountinfo uses for blanks and backslashes. */
function unescapeMount(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))
}

/**
 * Default directory of the demo's files: the temporary directory, or /var/tmp if the temporary
 * directory is in memory.
 */
export async function defaultDirectory(): Promise<string> {
  const usual = tmpdir()
  if (!(await fileSystemOf(usual)).inMemory) return usual
  try {
    await access('/var/tmp', constants.W_OK | constants.X_OK)
    return (await fileSystemOf('/var/tmp')).inMemory ? usual : '/var/tmp'
  } catch {
    return usual
  }
}

/** Describes the machine in one line: kernel, processor architecture, cores, Node. */
export function describeMachine(): string {
  const cores = availableParallelism()
  return `Linux ${release()} ${process.arch}, ${cores} core${cores === 1 ? '' : 's'}, Node ${process.version}`
}
