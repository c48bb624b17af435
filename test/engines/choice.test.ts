/**
 * Promise: 'auto' chooses the best engine that works here for the given sources and options, an
 * engine requested by name is used or refused with the reason, and the snapshot is exact with each.
 * Proved by requesting each engine in every way, with and without userfaultfd, with and without
 * privileges, behind a seccomp filter.
 */

import { chmodSync, mkdirSync, readFileSync } from 'node:fs'
import { capabilities } from 'stillframe'
import { beforeAll, describe, expect, test } from 'vitest'
import { compileProgram } from '../support/compile.js'
import { needsReadableCheckout, needsRoot, needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { startProgram, toolPath, useTools } from './programs.js'

useTools()
const inDirectory = useTemporaryDirectory()
beforeAll(() => {
  compileProgram(new URL('fixtures/without_call.c', import.meta.url), toolPath('without_call'))
})

type Answers = Record<string, string>

async function answersOf(options: Parameters<typeof startProgram>[2] = {}): Promise<Answers> {
  // Writable for a user who owns nothing here.
  mkdirSync(inDirectory('open'))
  chmodSync(inDirectory('open'), 0o777)
  const program = startProgram('choice', [inDirectory('open')], options)
  const { answers } = await program.report()
  expect(await program.end).toEqual({ status: 0, signal: null, stderr: '' })
  return answers
}

/** The available variants of userfaultfd. */
interface Machine {
  thread: boolean
  signal: boolean
}

/** Expected answers for a region, by engine and kernelWrites. */
function expectedOf({ thread, signal }: Machine): Record<string, RegExp> {
  const refused = /^ENGINE_UNAVAILABLE: /
  const byThread = thread ? /^userfaultfd thread$/ : undefined
  const bySignal = signal ? /^userfaultfd signal$/ : undefined
  return {
    'region auto undefined': byThread ?? /^fork kernel$/,
    'region auto true': byThread ?? /^fork kernel$/,
    'region auto false': bySignal ?? /^mprotect signal$/,
    'region userfaultfd undefined': byThread ?? bySignal ?? refused,
    'region userfaultfd true': byThread ?? refused,
    'region userfaultfd false': bySignal ?? refused,
    'region mprotect undefined': /^mprotect signal$/,
    'region mprotect true': /^ENGINE_UNAVAILABLE: .*fs\.read/,
    'region mprotect false': /^mprotect signal$/,
    // A mapping of a file, which userfaultfd does not accept.
    'mapped auto undefined': /^fork kernel$/,
    'mapped auto true': /^fork kernel$/,
    'mapped auto false': /^mprotect signal$/,
    'mapped userfaultfd undefined': signal ? /^ENGINE_UNAVAILABLE: .*mapping of a file/ : refused,
    'mapped userfaultfd true': refused,
    'mapped userfaultfd false': refused,
    'mapped mprotect undefined': /^mprotect signal$/,
    'mapped mprotect true': refused,
    'mapped mprotect false': /^mprotect signal$/,
    ...foreign('buffer', /only the memory of a Region/),
    ...foreign('view', /part of a Region|only the memory of a Region/),
    ...Object.fromEntries(
      ['region', 'mapped', 'buffer', 'view'].flatMap((kind) =>
        ['undefined', 'true', 'false'].map((writes) => [`${kind} fork ${writes}`, /^fork kernel$/]),
      ),
    ),
  }

  function foreign(kind: string, why: RegExp): Record<string, RegExp> {
    return Object.fromEntries(
      ['undefined', 'true', 'false'].flatMap((writes) => [
        [`${kind} auto ${writes}`, /^fork kernel$/],
        [`${kind} mprotect ${writes}`, why],
        [`${kind} userfaultfd ${writes}`, signal ? why : refused],
      ]),
    )
  }
}

function expectAnswers(answers: Answers, machine: Machine): void {
  const expected = expectedOf(machine)
  expect(Object.keys(answers).sort()).toEqual(Object.keys(expected).sort())
  for (const [asked, answer] of Object.entries(answers)) {
    expect({ asked, answer }).toEqual({ asked, answer: expect.stringMatching(expected[asked] as RegExp) })
  }
}

const here = (): Machine => {
  const { features } = capabilities()
  return {
    thread: features['userfaultfd_thread']?.available ?? false,
    signal: features['userfaultfd_signal']?.available ?? false,
  }
}

test('as this machine is', async () => {
  expectAnswers(await answersOf(), here())
})

describe('with STILLFRAME_DISABLE', () => {
  test.each([
    ['userfaultfd_thread', { thread: false }],
    ['userfaultfd', { thread: false, signal: false }],
  ])('%s', async (step, machine) => {
    expectAnswers(await answersOf({ env: { STILLFRAME_DISABLE: step } }), { ...here(), ...machine })
  })
})

describe('without privileges', () => {
  const asNobody = [
    'setpriv',
    '--reuid=65534',
    '--regid=65534',
    '--clear-groups',
    '--inh-caps=-all',
    '--bounding-set=-all',
  ]
  const unprivileged = () => readFileSync('/proc/sys/vm/unprivileged_userfaultfd', 'utf8').trim() === '1'

  test('for a user who may do nothing, faults come by signal', async (context) => {
    needsRoot(context, 'to become nobody')
    needsTools(context, 'setpriv')
    needsReadableCheckout(context, asNobody)
    const answers = await answersOf({ wrapper: asNobody })
    const { signal } = here()
    expectAnswers(answers, { thread: signal && unprivileged(), signal })
    if (!unprivileged())
      expect(answers['region userfaultfd true']).toMatch(/CAP_SYS_PTRACE.*kernelWrites: false/)
  })

  test.for([
    ['EPERM', 1],
    ['ENOSYS', 38],
  ] as const)(
    'behind a filter that answers userfaultfd with %s, also as nobody',
    async ([, error], context) => {
      const filter = [toolPath('without_call'), 'userfaultfd', String(error)]
      const wrapper = process.getuid?.() === 0 ? [...asNobody, ...filter] : filter
      needsReadableCheckout(context, wrapper)
      const answers = await answersOf({ wrapper })
      expectAnswers(answers, { thread: false, signal: false })
      expect(answers['region userfaultfd undefined']).toMatch(/filter/)
    },
  )
})
