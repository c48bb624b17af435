/**
 * Promise: what runs in the forked child can reach nothing that may lock, allocate, throw or run at exit. Proved by
 * following all calls from its entry through the object files, and comparing what leads out of them with a list.
 */

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { callGraph, demangle, foreignSymbols, objectFiles, reachable } from '../support/call-graph.js'
import { needsTools } from '../support/needs.js'

const objectDirectory = fileURLToPath(new URL('../../build/Release/obj.target', import.meta.url))

/** Of libc and the compiler: these look at memory and nothing else. */
const allowed = new Set([
  'memcmp',
  'memcpy',
  'memmove',
  'memset',
  'strcmp',
  '__popcountdi2',
  // The system call with a new stack, in assembler.
  'clone',
  '_GLOBAL_OFFSET_TABLE_',
])

test('all that the child calls makes system calls or works on memory', (context) => {
  needsTools(context, 'objdump', 'nm', 'c++filt')
  if (!existsSync(objectDirectory))
    context.skip('needs the object files of a source build (build/Release/obj.target)')
  // The addon's own files know Node; the child must not get there, and they define nothing that it uses.
  const objects = objectFiles(objectDirectory).filter((path) => !path.includes('/addon/'))
  const calls = callGraph(objects)
  const names = [...calls.keys()]
  const plain = demangle(names)
  // The entry, and the pages and the file, which the saver calls through their interfaces.
  const roots = names.filter((_, index) =>
    /^stillframe::(RunChild|(.*::)?ForkedPages::(CopyFrozen|Release)|FileSink::(Write|Extend))\(/.test(
      plain[index] ?? '',
    ),
  )
  expect(roots).toHaveLength(5)

  const ways = reachable(calls, roots)
  const reached = demangle([...ways.keys()])
  // A graph that ends too early would find nothing: these are known to be in it.
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
