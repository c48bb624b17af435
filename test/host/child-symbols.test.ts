/**
 * Promise: code in the forked child cannot reach any function that may lock, allocate, throw or run
 * at exit. Proved by following all calls from its entry point through the object files, and
 * comparing the external symbols with a list.
 */

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { callGraph, demangle, foreignSymbols, objectFiles, reachable } from '../support/call-graph.js'
import { needsTools } from '../support/needs.js'

const objectDirectory = fileURLToPath(new URL('../../build/Release/obj.target', import.meta.url))

/** Functions of libc and the compiler that only access memory. */
const allowed = new Set([
  'memcmp',
  'memcpy',
  'memmove',
  'memset',
  'strcmp',
  '__popcountdi2',
  // The system call with a new stack, in assembly.
  'clone',
  '_GLOBAL_OFFSET_TABLE_',
])

test('all that the child calls makes system calls or works on memory', (context) => {
  needsTools(context, 'objdump', 'nm', 'c++filt')
  if (!existsSync(objectDirectory))
    context.skip('needs the object files of a source build (build/Release/obj.target)')
  // The addon's own files use Node. The child must not get there, and these files define nothing
  // that it uses.
  const objects = objectFiles(objectDirectory).filter((path) => !path.includes('/addon/'))
  const calls = callGraph(objects)
  const names = [...calls.keys()]
  const plain = demangle(names)
  // The entry point, and the functions of pages and file that the saver calls through interfaces.
  const roots = names.filter((_, index) =>
    /^stillframe::(RunChild|(.*::)?ForkedPages::(CopyFrozen|Release)|FileSink::(Write|Extend))\(/.test(
      plain[index] ?? '',
    ),
  )
  expect(roots).toHaveLength(5)

  const ways = reachable(calls, roots)
  const reached = demangle([...ways.keys()])
  // A graph that ends too early would report nothing. These functions are known to be in it.
  for (const known of ['SaveChunks(', 'Checksum(', 'sys::Pwrite(', 'sys::Madvise(', 'sys::ExitGroup(']) {
    expect(
      reached.some((name) => name.startsWith(`stillframe::${known}`)),
      known,
    ).toBe(true)
  }
  const foreign = foreignSymbols(objects)
  const offences = [...ways].filter(([name]) => foreign.has(name) && !allowed.has(name))
  expect(offences.map(([, way]) => demangle(way).join(' -> '))).toEqual([])
})
