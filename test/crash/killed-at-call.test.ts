/**
 * Promise: after a kill at any system call that writes or publishes, in the child or in the
 * service, the published name is the complete older or the complete new snapshot (T5), and the next
 * snapshot removes the leftovers. Proved with strace, which kills the process that makes the N-th
 * call; with an engine that saves in the service, that is the service.
 */

import { readdirSync } from 'node:fs'
import { inspect, snapshot, verify } from 'stillframe'
import { describe, expect, type TestContext, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { longMode } from '../support/long-mode.mjs'
import { needsStrace, needsVariant } from '../support/needs.js'
import { runningInSession, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants, optionsOf, type Variant } from '../support/variants.mjs'

const inDirectory = useTemporaryDirectory()
const oneSnapshot = new URL('fixtures/one-snapshot.mjs', import.meta.url)

/** strace counts calls per thread, and several savers would split the count. */
const oneSaver = 'helpers'

interface Moment {
  call: string
  times: number
  who: 'the child' | 'the service'
  content: 'data' | 'zeros'
}

/**
 * Calls that Node itself does not make, so that the N-th is ours. The kill precedes any effect of
 * the call.
 */
const ending: Moment[] = [
  { call: 'pwrite64', times: 2, who: 'the service', content: 'zeros' },
  { call: 'fsync', times: 2, who: 'the service', content: 'data' },
  { call: 'linkat', times: 2, who: 'the service', content: 'data' },
  { call: 'renameat2', times: 2, who: 'the service', content: 'data' },
  { call: 'unlinkat', times: 1, who: 'the service', content: 'data' },
]
const inChild: Moment[] = [
  { call: 'close_range', times: 3, who: 'the child', content: 'data' },
  { call: 'pwrite64', times: 3, who: 'the child', content: 'data' },
]
const savedHere = (times: number): Moment => ({
  call: 'pwrite64',
  times,
  who: 'the service',
  content: 'data',
})

/** Each way of saving, with the steps of publishing to disable for it. */
const ways: { variant: Variant; options?: object; moments: Moment[]; disabled: string[] }[] = [
  {
    variant: 'fork',
    moments: [...inChild, ...ending],
    disabled: ['', ...(longMode ? ['o_tmpfile', 'exchange'] : []), 'o_tmpfile,exchange'],
  },
  ...inProcessVariants.map((variant) => ({
    variant,
    moments: [savedHere(3), ...ending],
    disabled: ['', 'o_tmpfile,exchange'],
  })),
  {
    variant: 'mprotect',
    options: { compression: 'zstd' },
    // Compressed, all of the data is less than a saver writes at once.
    moments: [savedHere(1), ...ending],
    disabled: ['', 'o_tmpfile,exchange'],
  },
]

for (const { variant, options = {}, moments, disabled } of ways) {
  for (const steps of disabled) {
    const how = steps === '' ? 'with all steps' : `with ${steps} disabled`
    describe(`${variant} ${JSON.stringify(options)}, ${how}`, () => {
      for (const moment of moments) {
        const { call, times, who, content } = moment
        test(`killed at ${call}: ${who}, of ${content}`, async (context) => {
          needsToKill(context, variant)
          let killed = 0
          for (let nth = 1; nth <= times; nth++) {
            if (await isKilledAt(moment, nth, { ...optionsOf[variant], ...options }, steps)) killed++
          }
          // Not every way of publishing makes each call, but the calls for the data are always
          // made.
          if (['close_range', 'pwrite64', 'fsync'].includes(call)) expect(killed).toBe(times)
        })
      }
    })
  }
}

function needsToKill(context: TestContext, variant: Variant): void {
  needsStrace(context)
  needsVariant(context, variant)
}

/** Takes a snapshot over an older one and checks what is left; false if there was no such call. */
async function isKilledAt(
  { call, who, content }: Moment,
  nth: number,
  options: object,
  disabled: string,
): Promise<boolean> {
  const what = `${call} ${nth}`
  await snapshot(new Uint8Array(10), inDirectory('file'), { metadata: 'old' }).done
  const fixture = startFixture(oneSnapshot, [inDirectory('file'), content, JSON.stringify(options)], {
    env: { STILLFRAME_DISABLE: [oneSaver, disabled].join(',') },
    wrapper: [
      ...['strace', '-f', '-qq', '-o', '/dev/null', '-e', `trace=${call}`],
      ...['-e', `inject=${call}:signal=SIGKILL:when=${nth}`],
    ],
    detached: true,
  })
  const outcome = await fixture.report().catch(() => undefined)
  const end = await fixture.end
  await waitUntil(() => runningInSession(fixture.pid).length === 0, `the child is gone (${what})`)

  // The file must contain what was reported to the service.
  const { metadata } = await inspect(inDirectory('file'))
  if (outcome === undefined) {
    expect(end, what).toMatchObject({ signal: 'SIGKILL' })
    expect(['old', 'new'], what).toContain(metadata)
  } else {
    expect(metadata, what).toBe(outcome['ok'] ? 'new' : 'old')
  }
  if (who === 'the child') expect(outcome, what).toMatchObject({ code: 'ERR_STILLFRAME_CHILD_DIED' })
  else if (outcome !== undefined) expect(outcome, what).toEqual({ ok: true })
  expect(await verify(inDirectory('file')), what).toMatchObject({ ok: true })
  await snapshot(new Uint8Array(10), inDirectory('file')).done
  expect(readdirSync(inDirectory()), what).toEqual(['file'])
  return outcome === undefined || !outcome['ok']
}
