/** What a process holds of the kernel's: it must be the same after a capture as before. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { childrenOf } from './processes.mjs'

/** Descriptors of this process and what they lead to; the one that lists them is left out. */
export function openDescriptors() {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} -> ${readlinkSync(`/proc/self/fd/${fd}`)}`]
    } catch {
      return []
    }
  })
}

/** Numbers that only a leak moves (mappings: also V8, by a few). */
export function footprint() {
  return {
    descriptors: openDescriptors().length,
    mappings: readFileSync('/proc/self/maps', 'utf8').split('\n').length,
    threads: readdirSync('/proc/self/task').length,
    children: childrenOf(process.pid).length,
  }
}

/** Masks and dispositions of the signals of this thread, as /proc prints them. */
export function signalState() {
  const status = readFileSync('/proc/thread-self/status', 'utf8')
  return status.split('\n').filter((line) => /^(SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd):/.test(line))
}

/**
 * The flags (smaps' VmFlags) of the mapping that holds an address range, by the size in KiB that it must have.
 *
 * @param {string} name - of the mapping, as the last column of /proc/self/maps.
 * @returns {string[]} the flags of each mapping of that name.
 */
export function mappingFlags(name) {
  const flags = []
  let wanted = false
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) wanted = line.endsWith(name)
    else if (wanted && line.startsWith('VmFlags:')) flags.push(line.slice('VmFlags:'.length).trim())
  }
  return flags
}
