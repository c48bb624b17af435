/**
 * Promise: the main thread can write the heap of a Worker, whatever the Worker is doing. If the
 * Worker cannot be reached, `done` reports that, and nothing is left behind.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { type HeapSummary, writeHeapSnapshot } from '../../lib/heap/index.js'
import { thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { classesIn } from '../support/heap-classes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

async function run(how: string): Promise<Record<string, unknown>> {
  const fixture = startFixture(new URL('fixtures/of-worker.mjs', import.meta.url), [how, inDirectory()])
  const report = await fixture.report()
  expect(await fixture.end).toMatchObject({ status: 0, stderr: '' })
  return report
}

describe('it is of the Worker, and of nobody else', () => {
  test.each([
    ['that waits in its event loop', 'idle'],
    ['in a loop that never ends', 'busy'],
    ['in Atomics.wait()', 'atomics'],
    ['with ids that last', 'stable'],
  ])('%s', async (_at, how) => {
    const { result } = (await run(how)) as { result: { pauseMs: number; frozenAt: number } }
    expect(result.pauseMs).toBeGreaterThan(0)
    expect(Math.abs(result.frozenAt - Date.now())).toBeLessThan(600_000)
    const classes = await classesIn(inDirectory('file'))
    expect(classes.find(({ name }) => name === 'OnlyInWorker')?.count).toBe(5000)
    expect(classes.find(({ name }) => name === 'OnlyInMain')).toBeUndefined()
  })

  test('as a summary', async () => {
    const { result } = (await run('summary')) as { result: { threadId: number } }
    const summary = JSON.parse(readFileSync(inDirectory('file'), 'utf8')) as HeapSummary
    expect(summary).toMatchObject({ thread: result.threadId, complete: true })
    expect(summary.classes?.find(({ name }) => name === 'OnlyInWorker')?.count).toBeGreaterThanOrEqual(5000)
  })
})

describe('where it cannot be had, that is told, and there is no file', () => {
  test.each([
    ['the Worker has not loaded stillframe', 'without', { code: 'ERR_INVALID_ARG_VALUE' }],
    ['the Worker has ended', 'ended', { code: 'ERR_INVALID_ARG_VALUE' }],
    ['the Worker cannot be interrupted', 'waiting', { code: 'ERR_STILLFRAME_BUSY' }],
    ['the Worker ends before', 'terminated', { code: 'ERR_STILLFRAME_CLOSED' }],
    ['the job is aborted before', 'aborted', { name: 'AbortError' }],
  ])('%s', async (_why, how, told) => {
    expect(await run(how)).toMatchObject(told)
    expect(readdirSync(inDirectory())).toEqual([])
  })

  test('it is no Worker', () => {
    const error = thrownBy(() => writeHeapSnapshot('x', { worker: {} as never }))
    expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_TYPE' })
    expect(error.message).toContain('options.worker')
  })
})
