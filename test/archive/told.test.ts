/**
 * Promise: an archive publishes its operations, and its contents afterwards, on its tracing
 * channels, and the metrics reflect them. Proved with listeners and with prom-client's own
 * registry, over captures that succeed, fail and are aborted, and over frames that are pruned.
 */

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { Registry } from 'prom-client'
import { Region } from 'stillframe'
import { type CaptureTrace, openArchive, type PruneTrace } from 'stillframe/archive'
import { registerMetrics } from 'stillframe/metrics'
import { afterEach, expect, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { listOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const cleanUps: (() => void)[] = []
afterEach(() => {
  clearFaults()
  for (const cleanUp of cleanUps.splice(0)) cleanUp()
})

/** The events of an operation, in order, each with a copy of its context at the time. */
function listen<Context extends object>(operation: string): [event: string, context: Context][] {
  const heard: [string, Context][] = []
  for (const event of ['start', 'end', 'asyncStart', 'asyncEnd', 'error']) {
    const name = `tracing:stillframe.${operation}:${event}`
    const listener = (context: unknown): void => void heard.push([event, { ...(context as Context) }])
    subscribe(name, listener)
    cleanUps.push(() => unsubscribe(name, listener))
  }
  return heard
}

function smallRegion(): Region {
  const region = Region.allocate(100_000)
  new Uint8Array(region.buffer).fill(1)
  return region
}

test('a capture is told as one operation, with what the archive holds when the frame is in it', async () => {
  const captures = listen<CaptureTrace>('capture')
  const others = [...listen('snapshot'), ...listen('heap')]
  await using archive = await openArchive(inDirectory('archive'))
  using region = smallRegion()
  const shot = archive.capture({ region }, { state: (out) => out.value(1) })
  expect(captures.map(([event]) => event)).toEqual(['start', 'end'])
  expect(captures[0]?.[1]).toMatchObject({
    archive: archive.directory,
    number: 1,
    id: shot.id,
    path: shot.path,
  })
  expect(captures[1]?.[1]).toMatchObject({
    sections: ['region'],
    byteLength: 100_000,
    frozenAt: shot.frozenAt,
  })
  const result = await shot.done
  expect(captures.slice(2).map(([event]) => event)).toEqual(['asyncStart', 'asyncEnd'])
  const [frame] = await listOf(archive)
  const bytes = (frame?.allocatedBytes ?? 0) + (frame?.stateSize ?? 0)
  expect(captures[3]?.[1]).toMatchObject({ result, frames: 1, bytes })
  expect(others).toEqual([])
})

test('a capture that fails, and one that is aborted, say so', async () => {
  const captures = listen<CaptureTrace>('capture')
  await using archive = await openArchive(inDirectory('archive'))
  using region = smallRegion()
  injectFault('fsync', 1, 'EIO')
  const error = await rejectionOf(archive.capture({ region }, { engine: 'mprotect' }).done)
  clearFaults()
  expect(captures.map(([event]) => event)).toEqual(['start', 'end', 'error', 'asyncStart', 'asyncEnd'])
  expect(captures[2]?.[1]).toMatchObject({ error })
  expect(captures[2]?.[1]).not.toHaveProperty('aborted')
  const shot = archive.capture({ region })
  shot.abort()
  await rejectionOf(shot.done)
  expect(captures[7]?.[1]).toMatchObject({ aborted: true })
})

test('frames that are given up are told, whoever asked for it, and dry runs are not', async () => {
  const prunes = listen<PruneTrace>('prune')
  await using archive = await openArchive(inDirectory('archive'))
  using region = smallRegion()
  for (let frame = 0; frame < 3; frame++) await archive.capture({ region }, { full: true }).done
  await archive.prune({ retention: { last: 1 }, dryRun: true })
  expect(prunes).toEqual([])
  const { freedBytes } = await archive.prune({ retention: { last: 1 } })
  expect(prunes.map(([event]) => event)).toEqual(['start', 'end', 'asyncStart', 'asyncEnd'])
  expect(prunes[3]?.[1]).toMatchObject({
    archive: archive.directory,
    frames: 1,
    result: { kept: 1, givenUp: 2, freedBytes },
  })
})

test('an archive is in the metrics', async () => {
  const register = new Registry()
  using _metrics = registerMetrics({ register })
  await using archive = await openArchive(inDirectory('archive'), { retention: { last: 2 } })
  using region = smallRegion()
  for (let frame = 0; frame < 4; frame++) await archive.capture({ region }, { full: true }).done
  await archive.prune()
  const frames = await listOf(archive)
  const bytes = frames.reduce((sum, { allocatedBytes }) => sum + allocatedBytes, 0)
  const gaugeOf = async (name: string) =>
    (await register.getSingleMetric(`stillframe_${name}`)?.get())?.values.find(
      ({ labels }) => labels['archive'] === archive.directory,
    )?.value
  expect(await gaugeOf('archive_frames')).toBe(2)
  expect(await gaugeOf('archive_bytes')).toBe(bytes)
  expect(await gaugeOf('last_success_timestamp_seconds')).toBeGreaterThan(Date.now() / 1000 - 60)
})
