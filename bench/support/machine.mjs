// Describes the machine, without which the figures mean nothing.
import { readFileSync } from 'node:fs'
import os from 'node:os'
import { capabilities } from 'stillframe'
import { availableMemory } from './room.mjs'
import { hasNoHugePages } from './small-pages.mjs'
import { size } from './table.mjs'

const textOf = (path) => {
  try {
    return readFileSync(path, 'latin1').trim()
  } catch {
    return 'unknown'
  }
}

/** The selected one of `always [madvise] never`. */
const chosen = (name) => {
  const text = textOf(`/sys/kernel/mm/transparent_hugepage/${name}`)
  return /\[(.+)\]/.exec(text)?.[1] ?? text
}

/** Type and options of the mount that contains the directory. */
const filesystem = (directory) => {
  const mounts = textOf('/proc/self/mountinfo')
    .split('\n')
    .map((line) => {
      const [before = '', after = ''] = line.split(' - ')
      const [type, device] = after.split(' ')
      return { at: before.split(' ')[4] ?? '', options: before.split(' ')[5], type, device }
    })
    .filter(({ at }) => directory === at || directory.startsWith(at === '/' ? '/' : `${at}/`))
    .sort((a, b) => a.at.length - b.at.length)
  const found = mounts.at(-1)
  return found === undefined ? 'unknown' : `${found.type} on ${found.device} (${found.options})`
}

export const describeMachine = (directory) => {
  const { kernel, engines, features } = capabilities()
  return {
    cpu: `${os.cpus()[0]?.model ?? 'unknown'}, ${os.availableParallelism()} usable of ${os.cpus().length}`,
    architecture: os.arch(),
    kernel,
    memory: `${size(os.totalmem())}, ${size(availableMemory())} available at the start`,
    swap: `${/^SwapTotal:\s+(.*)$/m.exec(textOf('/proc/meminfo'))?.[1] ?? 'unknown'}`,
    'transparent huge pages': hasNoHugePages()
      ? 'none in this run'
      : `${chosen('enabled')}, defrag ${chosen('defrag')}`,
    'vm.overcommit_memory': textOf('/proc/sys/vm/overcommit_memory'),
    'vm.max_map_count': textOf('/proc/sys/vm/max_map_count'),
    'vm.unprivileged_userfaultfd': textOf('/proc/sys/vm/unprivileged_userfaultfd'),
    user: process.getuid() === 0 ? 'root' : 'not root',
    filesystem: filesystem(directory),
    node: `${process.version}, V8 ${process.versions.v8}`,
    engines: Object.entries(engines)
      .filter(([, { available }]) => available)
      .map(([name]) => name)
      .join(', '),
    'not available': [...Object.entries(engines), ...Object.entries(features)]
      .filter(([, { available }]) => !available)
      .map(([name]) => name)
      .join(', '),
    'load average at the start': os
      .loadavg()
      .map((load) => load.toFixed(2))
      .join(', '),
  }
}
