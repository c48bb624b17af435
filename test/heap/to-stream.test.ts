/**
 * Promise: a heap snapshot can be written to a stream as well as to a file, completely and at the
 * speed of the stream. If the snapshot or the stream fails, `done` rejects, the stream is
 * destroyed, and nothing is left behind.
 */

import { readFileSync, statSync } from 'node:fs'
import { Writable } from 'node:stream'
import { describe, expect, test } from 'vitest'
import { type HeapSummary, writeHeapSnapshot } from '../../lib/heap/index.js'
import { thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { classesIn } from '../support/heap-classes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

async function run(how: string): Promise<Record<string, unknown>> {
  const fixture = startFixture(new URL('fixtures/to-stream.mjs', import.meta.url), [how, inDirectory()])
  const report = await fixture.report()
  expect(await fixture.end).toMatchObject({ status: 0 })
  expect(report['descriptors']).toBe(0)
  return report
}

describe('a heap snapshot is whole', () => {
  test.each([
    ['in a file that the caller writes', 'whole'],
    ['behind a stream that is slow', 'slow'],
    ['behind an upload', 'upload'],
  ])('%s', async (_where, how) => {
    const { result } = (await run(how)) as { result: { path: string; fileSize: number } }
    expect(result.path).toBe('')
    expect(statSync(inDirectory('received')).size).toBe(result.fileSize)
    const classes = await classesIn(inDirectory('received'))
    expect(classes.find(({ name }) => name === 'PlantedLeak')?.count).toBe(50_000)
  })
})

test('a heap summary too', async () => {
  await run('summary')
  const summary = JSON.parse(readFileSync(inDirectory('received'), 'utf8')) as HeapSummary
  expect(summary.classes?.find(({ name }) => name === 'PlantedLeak')?.count).toBeGreaterThanOrEqual(50_000)
})

describe('done rejects, and the stream is destroyed', () => {
  test.each([
    ['when the stream fails', 'fails', { message: 'full', stream: 'full' }],
    ['when somebody closes the stream', 'closes', { code: 'ERR_STREAM_PREMATURE_CLOSE' }],
    ['when the stream takes nothing', 'stalls', { code: 'ERR_STILLFRAME_STALLED' }],
    ['when the job is aborted', 'aborted', { name: 'AbortError' }],
    ['when the copy is killed', 'killed', { code: 'ERR_STILLFRAME_CHILD_DIED' }],
  ])('%s', async (_when, how, told) => {
    const report = await run(how)
    expect(report).toMatchObject(told)
    expect(report['stream']).not.toBe('finished')
  })

  test('when the stream has been ended before', async () => {
    expect(await run('ended')).toMatchObject({ message: expect.stringContaining('closed before') })
  })
})

test('options of files are refused for a stream', () => {
  const error = thrownBy(() => writeHeapSnapshot(new Writable(), { mode: 0o600 }))
  expect(error).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  expect(error.message).toContain('options.mode')
})
