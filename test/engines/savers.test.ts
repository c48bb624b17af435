/**
 * Promise: savers have a lower priority than the service. They run at the requested niceness, write
 * no faster than allowed, end at once when the capture is aborted, and run in parallel where that
 * helps. Proved with a rate limit that makes captures long, and by inspecting the threads from
 * outside.
 */

import { readdirSync, readFileSync, statSync } from 'node:fs'
import { getPriority } from 'node:os'
import { Region, restore, snapshot } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { needsVariant } from '../support/needs.js'
import { fillPattern, hashOf } from '../support/pattern.mjs'
import { childrenOf } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { allVariants, optionsOf } from '../support/variants.mjs'

const inDirectory = useTemporaryDirectory()
const MiB = 2 ** 20
const chunk = 4 * MiB

interface SaverThread {
  name: string
  nice: number
}

/** A thread may end before its file is read. */
function readIfThere(path: string): string {
  try {
    return readFileSync(path, 'latin1')
  } catch {
    return ''
  }
}

/** The saver threads: those of the forked copy if there is one, otherwise those of this process. */
function saverThreads(childrenBefore: Set<number>): SaverThread[] {
  const child = childrenOf(process.pid).find((pid) => !childrenBefore.has(pid))
  const pid = child ?? process.pid
  const threads = readdirSync(`/proc/${pid}/task`).flatMap((task) => {
    const stat = readIfThere(`/proc/${pid}/task/${task}/stat`)
    const [, name = '', rest = ''] = /\((.*)\) (.*)/s.exec(stat) ?? []
    return name === '' ? [] : [{ name, nice: Number(rest.split(' ')[16]) }]
  })
  return child === undefined ? threads.filter(({ name }) => name === 'stillframe-save') : threads
}

async function until<T>(look: () => T, good: (seen: T) => boolean): Promise<T> {
  for (const end = Date.now() + 60_000; ; ) {
    const seen = look()
    if (good(seen) || Date.now() > end) return seen
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

describe.each(allVariants)('%s', (variant) => {
  const options = { ...optionsOf[variant], durable: false }

  test.for(['none', 'zstd'] as const)(
    'several savers with the niceness asked for, none of which waits at an abort (%s)',
    async (compression, context) => {
      needsVariant(context, variant)
      const region = Region.allocate(4 * chunk)
      fillPattern(region.buffer, 3)
      const before = new Set(childrenOf(process.pid))
      const priority = getPriority()
      const nice = Math.min(priority + 3, 19)
      const taken = snapshot(region, inDirectory('file'), {
        ...options,
        compression,
        nice,
        maxBytesPerSecond: 1,
        stallTimeoutMs: 3000,
      })
      const threads = await until(
        () => saverThreads(before),
        (found) => found.length >= 2 && found.every((thread) => thread.nice === nice),
      )
      expect(threads.length).toBeGreaterThanOrEqual(2)
      expect(new Set(threads.map((thread) => thread.nice))).toEqual(new Set([nice]))
      // Longer than the stall timeout: waiting for the rate limit does not count as being stuck.
      await new Promise((resolve) => setTimeout(resolve, 4000))
      expect(getPriority()).toBe(priority)
      taken.abort()
      await expect(taken.done).rejects.toMatchObject({ name: 'AbortError' })
      region.close()
    },
  )

  test('no faster than maxBytesPerSecond, and what is written meanwhile is not in the file', async (context) => {
    needsVariant(context, variant)
    const region = Region.allocate(3 * chunk)
    fillPattern(region.buffer, 4)
    const expected = hashOf(region.buffer)
    const path = inDirectory('file')
    const taken = snapshot(region, path, { ...options, maxBytesPerSecond: 10 * chunk })
    new Uint8Array(region.buffer).fill(7)
    const { durationMs } = await taken.done
    // The third of three writes starts when the time of the first two is up, however fast the
    // machine.
    expect(durationMs).toBeGreaterThanOrEqual(200)
    const restored = await restore(path)
    expect(hashOf((restored.regions['main'] as Region).buffer)).toBe(expected)
    restored.close()
    region.close()
  })

  test('a packed file is smaller, and its size is the one that is told', async (context) => {
    needsVariant(context, variant)
    const region = Region.allocate(2 * chunk + 100)
    const text = Buffer.from('what repeats itself shrinks; ')
    const bytes = Buffer.from(region.buffer)
    for (let at = 0; at < bytes.length; at += text.length) text.copy(bytes, at)
    const path = inDirectory('file')
    const result = await snapshot(region, path, { ...options, compression: 'zstd' }).done
    const { size, blocks } = statSync(path)
    expect(result.fileSize).toBe(size)
    expect(result.allocatedBytes).toBe(blocks * 512)
    expect(size).toBeLessThan(region.byteLength / 20)
    region.close()
  })
})
