/**
 * Promise: a file that requires more memory than is available causes an error, and does not end the
 * service (I4). Proved by reading files with the largest metadata, and with almost the maximum
 * number of sections, in processes with a limited address space.
 */

import { snapshot } from 'stillframe'
import { beforeEach, describe, expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
// Zeros: some filesystems take minutes to remove a file with tens of thousands of single pages.
const memory = new Uint8Array(40_000)
const fixture = new URL('fixtures/reader-without-memory.mjs', import.meta.url)

beforeEach(async () => {
  await snapshot(memory, inDirectory('small')).done
  await snapshot(memory, inDirectory('metadata'), { metadata: 'x'.repeat(2 ** 26 - 2) }).done
  const sections = Array.from({ length: 40_000 }, (_, n) => [
    `${n}`.padStart(200, '.'),
    memory.subarray(n, n + 1),
  ])
  await snapshot(Object.fromEntries(sections), inDirectory('sections')).done
})

describe.each(['metadata', 'sections'])('a file with many %s', (name) => {
  for (const how of ['inspect', 'verify', 'restore']) {
    test(how, async (context) => {
      needsTools(context, 'prlimit')
      for (const mebibytes of [10, 35]) {
        const args = [inDirectory(name), how, inDirectory('small'), String(mebibytes)]
        const outcome = await startFixture(fixture, args).report()
        expect(outcome).toMatchObject({ ok: false, code: 'ERR_STILLFRAME_IO', syscall: 'mmap' })
      }
    })
  }
})
