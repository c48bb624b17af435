/** The verdicts of both readers on a file, in a form that can be compared. */

import { createHash } from 'node:crypto'
import * as native from 'stillframe'
import * as portable from 'stillframe/reader'
import { expect } from 'vitest'
import type { CodedError } from '../support/expect-error.js'

/** The parts of an error that are the same for all readers. */
function toldBy(error: unknown): object {
  const { name, code, message, path, errno, syscall, ...more } = error as CodedError & {
    section?: string
    offset?: number
  }
  return { name, code, message, path, errno, syscall, section: more.section, offset: more.offset }
}

const hashOf = (memory: ArrayBuffer): string =>
  createHash('sha256').update(new Uint8Array(memory)).digest('hex')

const outcomeOf = (work: Promise<unknown>): Promise<unknown> => work.catch(toldBy)

/** Results of one reader for inspect(), verify() and restore(). */
export interface Verdict {
  inspected: unknown
  verified: unknown
  restored: unknown
}

export async function nativeVerdict(path: string, limits?: native.ReadLimits): Promise<Verdict> {
  return {
    inspected: await outcomeOf(native.inspect(path, { limits })),
    verified: await outcomeOf(native.verify(path, { limits })),
    restored: await outcomeOf(
      native.restore(path, { mode: 'copy', limits }).then((restored) => {
        using held = restored
        return Object.entries(held.regions).map(([name, { buffer }]) => [name, hashOf(buffer)])
      }),
    ),
  }
}

export async function portableVerdict(path: string, limits?: native.ReadLimits): Promise<Verdict> {
  return {
    inspected: await outcomeOf(portable.inspect(path, { limits })),
    verified: await outcomeOf(portable.verify(path, { limits })),
    restored: await outcomeOf(
      portable.restore(path, { limits }).then(({ buffers }) => {
        return Object.entries(buffers).map(([name, memory]) => [name, hashOf(memory)])
      }),
    ),
  }
}

/** Expects both readers to give exactly the same verdict. */
export async function expectSameVerdict(
  path: string,
  why: string,
  limits?: native.ReadLimits,
): Promise<Verdict> {
  const [expected, found] = await Promise.all([nativeVerdict(path, limits), portableVerdict(path, limits)])
  expect(found, why).toEqual(expected)
  return found
}
