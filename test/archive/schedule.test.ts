/**
 * Promise: a schedule takes one frame after another, never two at once, and earlier when much has
 * been written. Only stop(), its signal and the end of the archive end it; stopped on SIGTERM, it
 * finishes in the time it is given or leaves nothing. Proved with captures that are slow, that fail
 * at first or permanently, and with services that are told to end.
 */

import { readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { Region, StillframeError } from 'stillframe'
import { type Archive, type Frame, openArchive, type Schedule } from 'stillframe/archive'
import { expect, test, vi } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { startFixture } from '../support/fixture.js'
import { needsVariant } from '../support/needs.js'
import { waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const service = new URL('fixtures/scheduled.mjs', import.meta.url)

/** Long after the end of the test. */
const never = 2 ** 31 - 1

async function opened(): Promise<{ archive: Archive; history: History }> {
  return { archive: await openArchive(inDirectory('archive')), history: new History() }
}

const untilTaken = (schedule: Schedule, count: number): Promise<void> =>
  waitUntil(() => schedule.taken >= count, `${count} frames have been taken`)

test('frames are taken one after the other, and each is told', async () => {
  const { archive, history } = await opened()
  const told: Frame[] = []
  const schedule = archive.schedule(history.region, {
    everyMs: 10,
    onFrame: (frame) => void told.push(frame),
  })
  await untilTaken(schedule, 5)
  await schedule.stop()
  const frames = await listOf(archive)
  expect(frames.length).toBe(schedule.taken)
  expect(told.map(({ id }) => id)).toEqual(frames.map(({ id }) => id))
  expect(schedule.lastFrame?.id).toBe(frames.at(-1)?.id)
  await setTimeout(50)
  expect(await numbersOf(archive)).toEqual(frames.map(({ number }) => number))
  await archive.close()
})

test('a time that comes while a frame is being captured is skipped and counted', async () => {
  const archive = await openArchive(inDirectory('archive'))
  const region = Region.allocate(2 << 20)
  new Uint8Array(region.buffer).fill(1)
  const schedule = archive.schedule(region, { everyMs: 10, full: true, maxBytesPerSecond: 20 << 20 })
  await waitUntil(() => schedule.skipped > 3 && schedule.taken > 0, 'some have been skipped')
  await schedule.stop()
  expect(schedule.failed).toBe(0)
  expect((await numbersOf(archive)).length).toBe(schedule.taken)
  await archive.close()
})

test('sources may be told anew for each frame', async () => {
  const { archive, history } = await opened()
  let calls = 0
  const schedule = archive.schedule(() => (++calls % 2 === 0 ? { two: history.region } : history.region), {
    everyMs: 10,
  })
  await untilTaken(schedule, 2)
  await schedule.stop()
  expect((await listOf(archive)).slice(0, 2).map(({ sections }) => sections[0]?.name)).toEqual([
    'main',
    'two',
  ])
  await archive.close()
})

test('what passes by itself is tried again at once, and what does not is told without ending the schedule', async () => {
  const { archive, history } = await opened()
  const errors: unknown[] = []
  let calls = 0
  const sources = (): Region => {
    calls++
    if (calls <= 2) throw new StillframeError('ERR_STILLFRAME_BUSY', 'not at rest')
    if (calls === 4) throw new StillframeError('ERR_STILLFRAME_NO_SPACE', 'full')
    if (calls === 5) throw new RangeError('mine')
    return history.region
  }
  const schedule = archive.schedule(sources, { everyMs: 200, onError: (error) => void errors.push(error) })
  await untilTaken(schedule, 1)
  expect([calls, schedule.failed, errors.length]).toEqual([3, 0, 0])
  await untilTaken(schedule, 2)
  await schedule.stop()
  expect(errors).toMatchObject([{ code: 'ERR_STILLFRAME_NO_SPACE' }, { message: 'mine' }])
  expect(schedule.failed).toBe(2)
  expect(schedule.lastError).toMatchObject({ message: 'mine' })
  await archive.close()
})

test('what never passes is given up after a few tries', async () => {
  const { archive } = await opened()
  let calls = 0
  const sources = (): Region => {
    calls++
    throw new StillframeError('ERR_STILLFRAME_CHILD_DIED', 'again')
  }
  // Counted when the error is reported: the next attempt may come before this test looks.
  const callsUntilError: number[] = []
  const schedule = archive.schedule(sources, { everyMs: 10, onError: () => void callsUntilError.push(calls) })
  await waitUntil(() => callsUntilError.length > 0, 'it has been given up')
  expect(callsUntilError[0]).toBe(4)
  await schedule.stop()
  await archive.close()
})

test('without a listener a failure is a warning', async () => {
  const { archive } = await opened()
  const warnings = vi.spyOn(process, 'emitWarning').mockImplementation(() => {})
  const schedule = archive.schedule(
    () => {
      throw new Error('mine')
    },
    { everyMs: 10 },
  )
  await waitUntil(() => schedule.failed > 0, 'it has failed')
  await schedule.stop()
  expect(warnings.mock.calls[0]).toEqual([expect.stringContaining('mine'), 'StillframeArchiveWarning'])
  warnings.mockRestore()
  await archive.close()
})

test('a frame is taken early when so many bytes have been written', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const archive = await openArchive(inDirectory('archive'))
  const MiB = 2 ** 20
  const region = Region.allocate(32 * MiB)
  const bytes = new Uint8Array(region.buffer)
  bytes.fill(1)
  // Tracking of changes starts with this frame.
  await archive.capture(region).done
  const schedule = archive.schedule(region, { everyMs: never, orChangedBytes: 8 * MiB })
  for (let unit = 0; unit < 3; unit++) bytes[unit * 2 * MiB] = 2
  await setTimeout(300)
  expect(schedule.taken).toBe(0)
  bytes[20 * MiB] = 2
  await untilTaken(schedule, 1)
  // The count has started over.
  await setTimeout(300)
  expect(schedule.taken).toBe(1)
  for (let unit = 0; unit < 4; unit++) bytes[unit * 2 * MiB] = 3
  await untilTaken(schedule, 2)
  await archive.close()
  region.close()
})

test('a frame that fails is not tried over and over because much has been written', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  const archive = await openArchive(inDirectory('archive'))
  const region = Region.allocate(4 << 20)
  const bytes = new Uint8Array(region.buffer)
  bytes.fill(1)
  await archive.capture(region).done
  const errors: unknown[] = []
  injectFault('fsync', 1, 'EIO', true)
  try {
    const schedule = archive.schedule(region, {
      everyMs: never,
      orChangedBytes: 1,
      onError: (error) => void errors.push(error),
    })
    bytes[0] = 2
    await waitUntil(() => errors.length > 0, 'it has failed')
    await setTimeout(500)
    expect(errors).toMatchObject([{ code: 'ERR_STILLFRAME_IO' }])
    await schedule.stop()
  } finally {
    clearFaults()
  }
  await archive.close()
})

test('the signal ends it, and aborts what is being captured', async () => {
  const place = inDirectory('archive')
  const archive = await openArchive(place)
  const region = Region.allocate(4 << 20)
  new Uint8Array(region.buffer).fill(1)
  const controller = new AbortController()
  const errors: unknown[] = []
  const schedule = archive.schedule(region, {
    everyMs: 10,
    maxBytesPerSecond: 1 << 20,
    signal: controller.signal,
    onError: (error) => void errors.push(error),
  })
  await waitUntil(() => schedule.capturing, 'a frame is being captured')
  controller.abort()
  await schedule.stop()
  expect([schedule.taken, schedule.failed, errors]).toEqual([0, 0, []])
  expect(readdirSync(place).sort()).toEqual(['archive.json', 'writer.lock'])
  // Another schedule may start now.
  await archive.schedule(region, { everyMs: never }).stop()
  await archive.close()
})

test('stop() finishes what is being captured, within the time that it is given', async () => {
  const archive = await openArchive(inDirectory('archive'))
  const region = Region.allocate(2 << 20)
  new Uint8Array(region.buffer).fill(1)
  const patient = archive.schedule(region, { everyMs: 10, maxBytesPerSecond: 8 << 20 })
  await waitUntil(() => patient.capturing, 'a frame is being captured')
  await patient.stop()
  expect([patient.taken, await numbersOf(archive)]).toEqual([1, [1]])
  const impatient = archive.schedule(region, { everyMs: 10, full: true, maxBytesPerSecond: 1 << 16 })
  await waitUntil(() => impatient.capturing, 'a frame is being captured')
  await impatient.stop({ withinMs: 1 })
  expect([impatient.taken, impatient.failed, await numbersOf(archive)]).toEqual([0, 0, [1]])
  await archive.close()
})

test.each([
  ['finish', true],
  ['abort', false],
])('a service that stops at SIGTERM ends cleanly: %s', async (how, isThere) => {
  const fixture = startFixture(service, [inDirectory('archive'), how])
  await fixture.report()
  fixture.child.kill('SIGTERM')
  const { taken } = await fixture.report()
  expect(await fixture.end).toMatchObject({ status: 0 })
  expect(taken).toBe(isThere ? 1 : 0)
  await using archive = await openArchive(inDirectory('archive'))
  expect(await numbersOf(archive)).toEqual(isThere ? [1] : [])
})

test('a process whose schedule is all that is left ends', async () => {
  const fixture = startFixture(service, [inDirectory('archive'), 'idle'])
  await fixture.report()
  expect(await fixture.end).toMatchObject({ status: 0 })
})

test('of two schedules the second is refused, and close() ends the first', async () => {
  const { archive, history } = await opened()
  const schedule = archive.schedule(history.region, { everyMs: never })
  expect(thrownBy(() => archive.schedule(history.region, { everyMs: never }))).toMatchObject({
    code: 'ERR_STILLFRAME_BUSY',
  })
  await archive.close()
  await schedule.stop()
  expect(thrownBy(() => archive.schedule(history.region, { everyMs: 10 }))).toMatchObject({
    code: 'ERR_STILLFRAME_CLOSED',
  })
})

test.each([
  [{}],
  [{ everyMs: 5 }],
  [{ everyMs: 10.5 }],
  [{ everyMs: 100, orChangedBytes: 0 }],
  [{ everyMs: 100, orChangedBytes: 1, trackChanges: false }],
  [{ everyMs: 100, onProgress() {} }],
  [{ everyMs: 100, onFrame: 1 }],
  [{ everyMs: 100, overwrite: true }],
  [{ everyMs: 100, compression: 'best' }],
])('wrong options are refused at the call: %o', async (options) => {
  const { archive, history } = await opened()
  expect(thrownBy(() => archive.schedule(history.region, options as never)).code).toMatch(
    /^ERR_(INVALID_ARG|OUT_OF_RANGE)/,
  )
  const schedule = archive.schedule(history.region, { everyMs: never })
  expect(await rejectionOf(schedule.stop({ withinMs: -1 }))).toMatchObject({ code: 'ERR_OUT_OF_RANGE' })
  await archive.close()
})
