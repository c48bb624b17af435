/**
 * Promise: the memory and the JavaScript objects of a frame are of one instant, and either both
 * exist or there is no frame. Proved with a counter that is kept in a Region and in an object and
 * never stops, with callbacks that fail, and with captures that are aborted or fail while the other
 * half succeeds.
 */

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Region } from 'stillframe'
import { type Archive, openArchive } from 'stillframe/archive'
import { expect, test } from 'vitest'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()

async function objectsOf(archive: Archive, id: string): Promise<unknown[]> {
  const restored = await archive.restore({ id })
  const objects: unknown[] = []
  for await (const value of restored.state()) objects.push(value)
  restored.close()
  return objects
}

/** What is left of a frame that was not reported complete. */
function filesOf(place: string): string[] {
  return readdirSync(place).filter((name) => /^\d/.test(name))
}

test('a counter is the same in memory and in the objects of every frame', async () => {
  await using archive = await openArchive(inDirectory('archive'))
  const region = Region.allocate(1 << 20)
  const words = new Uint32Array(region.buffer)
  const objects = { counter: 0, history: new Map<number, string>() }
  const count = (): void => {
    objects.counter++
    objects.history.set(objects.counter, `turn ${objects.counter}`)
    words[0] = objects.counter
    words[words.length - 1] = objects.counter
  }
  const expected: number[] = []
  for (let frame = 0; frame < 6; frame++) {
    for (let turn = 0; turn < 10; turn++) count()
    expected.push(objects.counter)
    const running = archive.capture(region, { state: (out) => out.value(objects) })
    count()
    const counting = setInterval(count, 1)
    await running.done
    clearInterval(counting)
  }
  const frames = await listOf(archive)
  expect(frames.map(({ hasState }) => hasState)).toEqual(Array(6).fill(true))
  for (const [index, { id, stateSize = 0 }] of frames.entries()) {
    expect(stateSize).toBeGreaterThan(0)
    const restored = await archive.restore({ id })
    const memory = new Uint32Array((restored.regions['main'] as Region).buffer)
    const [found] = (await objectsOf(archive, id)) as [typeof objects]
    expect([memory[0], memory[memory.length - 1], found.counter, found.history.size]).toEqual(
      Array(4).fill(expected[index]),
    )
    restored.close()
  }
  region.close()
})

test('objects can be read again, beside each other, and not at all where there are none', async () => {
  await using archive = await openArchive(inDirectory('archive'))
  const region = Region.allocate(4096)
  await archive.capture(region, {
    state(out) {
      for (let n = 0; n < 3; n++) out.value(n)
    },
  }).done
  const restored = await archive.restore()
  const [one, two] = [restored.state(), restored.state()]
  expect([await one.next(), await two.next(), await one.next()].map(({ value }) => value)).toEqual([0, 0, 1])
  await Promise.all([one.return(), two.return()])
  const all: unknown[] = []
  for await (const value of restored.state()) all.push(value)
  expect(all).toEqual([0, 1, 2])
  restored.close()
  await archive.capture(region).done
  expect(await objectsOf(archive, (await listOf(archive))[1]?.id as string)).toEqual([])
  region.close()
})

test('if the callback throws there is no frame, and the next one is taken', async () => {
  const place = inDirectory('archive')
  await using archive = await openArchive(place)
  const region = Region.allocate(1 << 20)
  const failing = archive.capture(region, {
    state() {
      throw new RangeError('no')
    },
  })
  const error = await rejectionOf(failing.done)
  expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CALLBACK', cause: { message: 'no' } })
  expect(filesOf(place)).toEqual([])
  await archive.capture(region, { state: (out) => out.value(1) }).done
  expect(await numbersOf(archive)).toEqual([2])
  region.close()
})

test('if the memory cannot be had there are no objects either', async () => {
  const place = inDirectory('archive')
  await using archive = await openArchive(place)
  const region = Region.allocate(1 << 20)
  new Uint8Array(region.buffer).fill(1)
  // A wrong argument is reported before anything is forked; a failure of the freeze is reported
  // after the fork.
  expect(thrownBy(() => archive.capture('memory' as never, { state: (out) => out.value(1) }))).toMatchObject({
    code: 'ERR_INVALID_ARG_TYPE',
  })
  const foreign = new Uint8Array(4096)
  expect(
    thrownBy(() => archive.capture(foreign, { engine: 'userfaultfd', state: (out) => out.value(1) })),
  ).toMatchObject({ code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' })
  // Cleaned up in the background, before close() finishes.
  await archive.close()
  expect(filesOf(place)).toEqual([])
  region.close()
})

test('a capture that is aborted leaves neither half', async () => {
  const place = inDirectory('archive')
  await using archive = await openArchive(place)
  const region = Region.allocate(4 << 20)
  new Uint8Array(region.buffer).fill(1)
  const running = archive.capture(region, {
    state(out) {
      for (let n = 0; n < 1e9; n++) out.write('for ever and ever')
    },
  })
  const controller = new AbortController()
  running.abort(new Error('enough'))
  expect(await rejectionOf(running.done)).toMatchObject({ message: 'enough' })
  expect(filesOf(place)).toEqual([])
  const second = archive.capture(region, {
    signal: controller.signal,
    state(out) {
      for (let n = 0; n < 1e9; n++) out.write('for ever and ever')
    },
  })
  // By then the memory has long been written, but not the objects.
  setTimeout(() => controller.abort(new Error('too long')), 300)
  expect(await rejectionOf(second.done)).toMatchObject({ message: 'too long' })
  expect(filesOf(place)).toEqual([])
  region.close()
})

test('if the name of the memory cannot be brought to the disk nothing is listed and nothing is left', async () => {
  const place = inDirectory('archive')
  await using archive = await openArchive(place)
  const region = Region.allocate(1 << 20)
  new Uint8Array(region.buffer).fill(1)
  injectFault('fsync', 2, 'EIO')
  try {
    const running = archive.capture(region)
    expect(await rejectionOf(running.done)).toMatchObject({ code: 'ERR_STILLFRAME_IO', syscall: 'fsync' })
  } finally {
    clearFaults()
  }
  expect(filesOf(place)).toEqual([])
  expect(await numbersOf(archive)).toEqual([])
  region.close()
})

test('damaged objects make a damaged frame, which is passed over', async () => {
  const place = inDirectory('archive')
  await using archive = await openArchive(place)
  const region = Region.allocate(4096)
  for (const value of ['one', 'two']) await archive.capture(region, { state: (out) => out.value(value) }).done
  const path = join(place, '0000000002.state')
  const bytes = readFileSync(path)
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
  writeFileSync(path, bytes)
  const restored = await archive.restore()
  expect(restored.frame.number).toBe(1)
  expect(restored.skipped).toMatchObject([{ number: 2, code: 'ERR_STILLFRAME_CORRUPT' }])
  expect(restored.skipped[0]?.reason).toContain('0000000002.state')
  expect(await objectsOf(archive, restored.frame.id)).toEqual(['one'])
  expect((await archive.verify()).frames.map(({ ok }) => ok)).toEqual([true, false])
  expect(existsSync(path)).toBe(true)
  region.close()
})
