/**
 * Promise: a job ends cleanly when its Worker or the process ends, in every phase and in every way,
 * and the import alone does not change how a process ends (I4, I10). Proved by ending Workers and
 * processes.
 */

import { mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { snapshotState } from 'stillframe/heap'
import { describe, expect, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { endAtManyMoments, endingTakesMs, waysToEnd } from '../support/ending-service.js'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { needsTools } from '../support/needs.js'
import { testSeed } from '../support/random.mjs'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

describe('a process that ends while a job runs', () => {
  for (const way of Object.keys(waysToEnd)) {
    for (const by of ['main thread', 'worker']) {
      test(
        `ends as without us, and its copy with it: ${way}, saved by the ${by}`,
        async () => {
          await endAtManyMoments('job', inDirectory('file'), way, by, 100)
          await snapshotState(inDirectory('file'), (out) => out.write('state')).done
          expect(temporaryFilesIn(inDirectory())).toEqual([])
        },
        endingTakesMs,
      )
    }
  }
})

describe('a process that ends just after the import', () => {
  const ends: Record<string, number> = { exit: 7, return: 0, throw: 1 }
  for (const [way, status] of Object.entries(ends)) {
    for (const by of ['main thread', 'worker']) {
      test(`ends as without it: ${way}, imported by the ${by}`, async (context) => {
        needsTools(context, 'cc')
        const library = inDirectory('slow_threads.so')
        compileLibrary(new URL('fixtures/slow_threads.c', import.meta.url), library)
        for (let round = 0; round < (longMode ? 50 : 3); round++) {
          const process = startFixture(new URL('fixtures/ends-at-once.mjs', import.meta.url), [way, by], {
            preload: library,
          })
          const { stderr, ...end } = await process.end
          expect(end).toEqual({ status, signal: null })
          expect(stderr).not.toContain('outlives')
        }
      })
    }
  }
})

describe('a Worker that ends in the middle of its job', () => {
  const ends: Record<string, { status: number; error?: string }> = {
    exit: { status: 3 },
    throw: { status: 1, error: 'of the Worker' },
    terminate: { status: 1 },
  }
  for (const [way, end] of Object.entries(ends)) {
    test(`takes its copy and its file with it, and the main thread goes on: ${way}`, async () => {
      const service = startFixture(new URL('fixtures/worker-ends.mjs', import.meta.url), [
        inDirectory('file'),
        way,
      ])
      expect(await service.report()).toEqual({
        end,
        messages: [],
        childGone: true,
        published: true,
        names: ['file'],
        children: [],
        left: {},
        forkable: 0,
      })
      expect(await service.report()).toEqual({ ok: true })
      expect(await service.end).toEqual({ status: 0, signal: null, stderr: '' })
      expect(readFileSync(inDirectory('file'), 'utf8')).toBe('new')
    })
  }
})

const workers = new URL('fixtures/workers.mjs', import.meta.url)

test('several Workers and the main thread run jobs at once', async (context) => {
  needsTools(context, 'cc')
  const jobs = longMode ? 100 : 10
  // There are as many V8 threads as jobs. If two jobs parked threads at once, each would get some
  // of them and wait for the rest.
  const library = inDirectory('slow_pushes.so')
  compileLibrary(new URL('fixtures/slow_pushes.c', import.meta.url), library)
  const files = inDirectory('files')
  mkdirSync(files)
  const fixture = startFixture(workers, [files, String(jobs)], {
    nodeOptions: ['--v8-pool-size=4'],
    preload: library,
  })
  const { exact, children } = await fixture.report()
  expect(exact).toEqual([jobs, jobs, jobs, jobs])
  expect(children).toEqual([])
  expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
  expect(readdirSync(files)).toHaveLength(4)
})

test('Workers may be terminated at any moment', async () => {
  const rounds = longMode ? 300 : 20
  const fixture = startFixture(workers, [inDirectory(), String(rounds), String(testSeed)])
  expect(await fixture.end, `seed ${testSeed}`).toEqual({ status: 0, signal: null, stderr: '' })
  const { saved, children, forkable } = await fixture.report()
  expect(saved).toBeGreaterThanOrEqual(rounds)
  expect(children).toEqual([])
  expect(forkable).toBe(0)
  expect(temporaryFilesIn(inDirectory())).toEqual([])
})
