// Promise I6: changing a file while it is read leads to an error, or has no effect; never to a
// signal, and never to bytes that were not in a snapshot. Proved in a separate process, by
// truncating, overwriting and replacing the file at random moments of a restore and of a verify.

import { readdirSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const fixture = new URL('fixtures/changed-under-restore.mjs', import.meta.url)
const mapFixture = new URL('fixtures/truncated-under-map.mjs', import.meta.url)
const rounds = longMode ? 200 : 5
const limitMs = 300_000

// A change before the file is opened, or a truncation to nothing, is a format error. Later it is
// damage.
const refusals = ['ERR_STILLFRAME_CORRUPT', 'ERR_STILLFRAME_FORMAT', 'reported']
const harmless = ['original', 'whole']

/** The outcomes of all rounds, for each change. */
async function outcomesOf(reader: string, ...changes: string[]): Promise<[string, string[]][]> {
  const process = startFixture(fixture, [inDirectory(), reader, String(rounds), '1', ...changes])
  const report: Record<string, Record<string, number>> = await process.report(limitMs)
  expect(await process.end).toMatchObject({ status: 0, signal: null })
  expect(Object.keys(report)).toEqual(changes)
  return Object.entries(report).map(([change, counts]) => [change, Object.keys(counts)])
}

const readers = ['copy', 'copy, unverified', 'into a region', 'into an ArrayBuffer', 'verify']
describe.each(readers)('%s', (reader) => {
  it(
    'while the file is damaged: an error or no effect',
    async () => {
      // Without verification only missing data is noticed.
      const changes = reader.includes('unverified')
        ? ['truncate', 'empty']
        : ['truncate', 'empty', 'grow', 'overwrite', 'rewrite']
      for (const [change, outcomes] of await outcomesOf(reader, ...changes)) {
        for (const outcome of outcomes) expect([...refusals, ...harmless], change).toContain(outcome)
      }
    },
    limitMs,
  )

  it(
    'while another snapshot takes its name: the one or the other, whole',
    async () => {
      for (const [, outcomes] of await outcomesOf(reader, 'replace')) {
        for (const outcome of outcomes) expect(['original', 'replacement', 'whole']).toContain(outcome)
      }
    },
    limitMs,
  )
})

describe('memory that is a mapping of the file', () => {
  it.each(['replaced', 'removed', 'published over'])(
    'keeps its bytes when the file is %s',
    async (change) => {
      const process = startFixture(mapFixture, [inDirectory('mapped'), change])
      expect(await process.report()).toEqual({ same: true })
      expect(await process.end).toMatchObject({ status: 0, signal: null })
    },
  )

  // Truncating a file removes its pages from all mappings. Every protection that the kernel offers
  // also needs the cooperation of the file's owner. mode: 'copy' is not affected.
  it('known limit: is gone, and with it the process, when the file is truncated in place', async () => {
    const process = startFixture(mapFixture, [inDirectory('mapped'), 'truncated'])
    expect(await process.end).toMatchObject({ status: null, signal: 'SIGBUS' })
    expect(readdirSync(inDirectory())).toContain('mapped')
  })
})
