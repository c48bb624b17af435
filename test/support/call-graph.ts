/** Call graph of compiled object files, for tests of promises about which code is reachable. */

import { spawnSync } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'

/** All object files below a directory. */
export function objectFiles(directory: string): string[] {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' })
  return names.filter((name) => name.endsWith('.o')).map((name) => join(directory, name))
}

/** For each function, the mangled names that its code refers to. */
type Calls = Map<string, Set<string>>

/**
 * Functions of the objects, each with the names it refers to: functions, and data, which has no
 * entry of its own.
 */
export function callGraph(objects: readonly string[]): Calls {
  const calls: Calls = new Map()
  for (const object of objects) addObject(calls, object)
  // The compiler splits off code that it considers rarely executed.
  for (const name of [...calls.keys()]) {
    const whole = /^(.*)\.cold(\.\d+)?$/.exec(name)?.[1]
    if (whole !== undefined) calls.get(whole)?.add(name)
  }
  return calls
}

function addObject(calls: Calls, object: string): void {
  const { stdout, status, stderr } = spawnSync('objdump', ['-dr', '--no-show-raw-insn', object], {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
  })
  if (status !== 0) throw new Error(`objdump failed: ${stderr}`)
  const starts = new Map<string, { at: number; name: string }[]>()
  const pending: { from: string; section: string; offset: number }[] = []
  let section = ''
  let current = ''
  const refer = (name: string): void => void calls.get(current)?.add(name)

  for (const line of stdout.split('\n')) {
    const newSection = /^Disassembly of section (.*):$/.exec(line)?.[1]
    if (newSection !== undefined) section = newSection
    const start = /^([0-9a-f]+) <(.+)>:$/.exec(line)
    if (start?.[1] !== undefined && start[2] !== undefined) {
      current = start[2]
      if (!calls.has(current)) calls.set(current, new Set())
      starts.set(section, [
        ...(starts.get(section) ?? []),
        { at: Number.parseInt(start[1], 16), name: current },
      ])
      continue
    }
    const relocation = /\sR_\w+\s+([^\s+-]+)(?:([+-])0x([0-9a-f]+))?$/.exec(line)
    if (relocation?.[1] !== undefined) {
      const [, symbol, sign, digits = '0'] = relocation
      if (!symbol.startsWith('.text')) refer(symbol)
      // A file-local function, given by its offset; on x64, PC-relative offsets count from the end
      // of their four bytes.
      else {
        const addend = Number.parseInt(digits, 16) * (sign === '-' ? -1 : 1)
        pending.push({
          from: current,
          section: symbol,
          offset: addend + (line.includes('R_X86_64_P') ? 4 : 0),
        })
      }
      continue
    }
    const near = /<([^>+]+)(?:\+0x[0-9a-f]+)?>$/.exec(line)?.[1]
    if (near !== undefined && near !== current) refer(near)
  }
  for (const { from, section: of, offset } of pending) {
    const target = starts.get(of)?.findLast(({ at }) => at <= offset)
    if (target !== undefined) calls.get(from)?.add(target.name)
  }
}

/** Everything reachable from the roots, each with one path that leads to it. */
export function reachable(calls: Calls, roots: readonly string[]): Map<string, string[]> {
  const ways = new Map(roots.map((root) => [root, [root]]))
  const queue = [...roots]
  for (let name = queue.shift(); name !== undefined; name = queue.shift()) {
    for (const next of calls.get(name) ?? []) {
      if (ways.has(next)) continue
      ways.set(next, [...(ways.get(name) ?? []), next])
      queue.push(next)
    }
  }
  return ways
}

/** Symbols that none of the objects defines: those of libc and other libraries. */
export function foreignSymbols(objects: readonly string[]): Set<string> {
  const listed = (which: string): string[] => {
    const { stdout } = spawnSync('nm', ['--format=just-symbols', which, ...objects], { encoding: 'utf8' })
    return stdout.split('\n').filter((line) => line !== '' && !line.endsWith(':'))
  }
  const defined = new Set(listed('--defined-only'))
  return new Set(listed('--undefined-only').filter((name) => !defined.has(name)))
}

/** Demangles names to their form in the source. */
export function demangle(names: readonly string[]): string[] {
  return spawnSync('c++filt', { input: names.join('\n'), encoding: 'utf8' }).stdout.split('\n')
}
