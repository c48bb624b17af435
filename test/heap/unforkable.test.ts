/**
 * Promise: a job lets V8's memory into its copy, and afterwards children of the service inherit
 * exactly the same memory as before: all of the service's own, and none of V8's (I4, I7). Proved by
 * the flags of all mappings, while other threads unmap and map memory in the middle of the freeze.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const remaps = new URL('fixtures/remaps.mjs', import.meta.url)

/**
 * Runs `count` jobs while a thread of the host remaps memory in the mode `armed`; see remapper.c.
 */
function startRemapping(armed: 1 | 2, count: number): ReturnType<typeof startFixture> {
  const library = inDirectory('remapper.so')
  compileLibrary(new URL('fixtures/remapper.c', import.meta.url), library)
  const control = inDirectory('control')
  const page = Buffer.alloc(4096)
  page[1] = armed
  writeFileSync(control, page)
  return startFixture(remaps, [inDirectory('file'), control, String(armed), String(count)], {
    preload: library,
    env: { REMAPPER: control },
  })
}

test("memory that another thread unmaps and maps while V8's is looked for is not taken for it", async (context) => {
  needsTools(context, 'cc')
  const fixture = startRemapping(1, longMode ? 1000 : 50)
  expect(await fixture.report()).toMatchObject({
    kept: 0,
    forkable: 0,
    marked: 0,
    spawned: { status: 0, signal: null },
  })
})

test('memory that another thread maps where V8 had some until the fork is forked to its children', async (context) => {
  needsTools(context, 'cc')
  const fixture = startRemapping(2, 1)
  const { atStart, kept, marked, spawned } = await fixture.report()
  expect(atStart).toContain('dc')
  expect({ kept, marked, spawned }).toEqual({ kept: 0, marked: 0, spawned: { status: 0, signal: null } })
})

test('memory that V8 gets between the look for it and the fork is there in the copy as well', async (context) => {
  needsTools(context, 'cc')
  const library = inDirectory('maps_in_fork.so')
  compileLibrary(new URL('fixtures/maps_in_fork.c', import.meta.url), library)
  const fixture = startFixture(new URL('fixtures/maps-in-fork.mjs', import.meta.url), [inDirectory('file')], {
    preload: library,
  })
  const { flags, inCopy, reservedInCopy } = await fixture.report()
  expect(inCopy).toBe('rw-p')
  expect(reservedInCopy).toBe('---p')
  expect(flags).toContain('dc')
})

test("the copy's stack grows, also where that of the service has grown since", async (context) => {
  needsTools(context, 'cc')
  const library = inDirectory('late_copy.so')
  compileLibrary(new URL('fixtures/late_copy.c', import.meta.url), library)
  const fixture = startFixture(new URL('fixtures/deep.mjs', import.meta.url), [inDirectory('file')], {
    preload: library,
  })
  const { reached, attempts } = await fixture.report()
  expect(attempts).toBe(1)
  expect(reached).toBe(3000)
  expect(Number(readFileSync(inDirectory('file'), 'utf8'))).toBeGreaterThan(2 * reached)
})

test('a job and a snapshot() in another thread do not undo what each lets into its own copy', async (context) => {
  needsTools(context, 'cc')
  const library = inDirectory('slow_fork.so')
  compileLibrary(new URL('fixtures/slow_fork.c', import.meta.url), library)
  const jobs = longMode ? 200 : 20
  const fixture = startFixture(
    new URL('fixtures/beside-regions.mjs', import.meta.url),
    [inDirectory(), String(jobs)],
    { preload: library },
  )
  const { attempts, exact, snapshots, forkable } = await fixture.report()
  expect(attempts).toEqual(Array.from({ length: jobs }, () => 1))
  expect(exact).toBe(jobs)
  expect(Object.keys(snapshots)).toEqual(['ok'])
  expect(forkable).toBe(0)
  expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
})
