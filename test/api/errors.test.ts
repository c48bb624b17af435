/**
 * Promise: every failure in native code reaches the user as one StillframeError that says what is
 * wrong, where, and what to do. Proved by translating failures of every kind.
 */

import { describe, expect, test } from 'vitest'
import { CallSite, describe as describeValue, fromNative } from '../../lib/base/errors.js'
import { StillframeError } from '../../lib/index.js'
import { nativeFailure } from './fake-addon.js'

function theOperation(): CallSite {
  return new CallSite(theOperation)
}

function translate(failure: string, details = {}, path: string | undefined = '/data/x'): StillframeError {
  return fromNative(nativeFailure(failure, details), path, theOperation()) as StillframeError
}

describe('fromNative', () => {
  test('keeps errno negative, its name, the call, the path; leaves out what does not apply', () => {
    const error = translate('IO', { message: 'cannot write.', errno: 5, errnoName: 'EIO', syscall: 'fsync' })
    const numbers = { errno: -5, errnoName: 'EIO', syscall: 'fsync' }
    expect({ ...error }).toEqual({ code: 'ERR_STILLFRAME_IO', ...numbers, path: '/data/x' })
    expect(error.message).toBe('/data/x: cannot write (EIO: i/o error, fsync)')
    const unheardOf = { message: 'odd', errno: 4000, errnoName: 'Unknown system error 4000', syscall: 'read' }
    expect(translate('IO', unheardOf).message).toBe('/data/x: odd (Unknown system error 4000, read)')
    expect(error.name).toBe('StillframeError')
    expect(Object.keys(translate('BUSY', {}, undefined))).toEqual(['code', 'path'])
  })

  test('CORRUPT names section and offset', () => {
    const error = translate('CORRUPT', { message: 'wrong checksum', section: 'index', offset: 4096 })
    expect({ ...error }).toEqual({
      code: 'ERR_STILLFRAME_CORRUPT',
      path: '/data/x',
      section: 'index',
      offset: 4096,
    })
    expect({ ...translate('CORRUPT') }).toEqual({ code: 'ERR_STILLFRAME_CORRUPT', path: '/data/x' })
  })

  test('says what to do', () => {
    for (const [failure, advice] of [
      ['NO_SPACE', /disk space/],
      ['EXISTS', /overwrite: true/],
      ['STALLED', /raise the named timeout/],
      ['CHILD_OOM', /memoryLimit/],
      ['VERSION', /newer version/],
      ['CORRUPT', /verify\(\)/],
    ] as const) {
      expect(translate(failure).message).toMatch(advice)
    }
  })

  test('the stack begins where the operation was called', () => {
    const error = (function theCaller() {
      return translate('IO')
    })()
    expect(error.stack).toMatch(
      /^StillframeError: \/data\/x: it failed\n\s+at translate .*\n\s+at theCaller /,
    )
  })

  test('survives a process without stacks', () => {
    const { prepareStackTrace, stackTraceLimit } = Error
    try {
      Error.prepareStackTrace = () => 42
      expect(translate('IO').code).toBe('ERR_STILLFRAME_IO')
      Error.prepareStackTrace = prepareStackTrace
      Error.stackTraceLimit = 0
      expect(translate('IO').code).toBe('ERR_STILLFRAME_IO')
    } finally {
      Error.prepareStackTrace = prepareStackTrace
      Error.stackTraceLimit = stackTraceLimit
    }
  })

  test('leaves everything else alone', () => {
    const other = new Error('not ours')
    expect(fromNative(other, '/data/x', theOperation)).toBe(other)
    expect(fromNative('text', '/data/x', theOperation)).toBe('text')
  })
})

test('a StillframeError carries its cause, and prints without noise', () => {
  const cause = new Error('inner')
  const error = new StillframeError('ERR_STILLFRAME_CALLBACK', 'the writer threw', {
    cause,
    errno: undefined,
  })
  expect(error.cause).toBe(cause)
  expect(error).toBeInstanceOf(Error)
  expect(Object.keys(error)).toEqual(['code'])
})

test('values in messages are short and never run code of the caller', () => {
  const trap = new Proxy({}, { get: () => expect.unreachable(), ownKeys: () => expect.unreachable() })
  for (const value of [
    trap,
    { toString: () => expect.unreachable() },
    new Uint8Array(1 << 20),
    'x'.repeat(1e6),
  ]) {
    expect(describeValue(value).length).toBeLessThan(70)
  }
  expect(describeValue('a\nb')).toBe("'a\\nb'")
  expect(describeValue(Symbol('s'))).toBe('Symbol(s)')
})
