/**
 * Promise: the package works in a realm of its own (Jest, Vitest's vm pools, `node:vm`) as it does
 * elsewhere: errors have their type and code, `'auto'` has its fallback, and memory, signals and
 * URLs may come from any realm. Proved by evaluating the package in a context of `node:vm` and
 * using it from another realm with objects of a third.
 */

import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test('errors, the fallback, and things of other realms', async () => {
  const nodeOptions = ['--experimental-vm-modules', '--no-warnings']
  const fixture = startFixture(new URL('fixtures/other-realm.mjs', import.meta.url), [inDirectory()], {
    nodeOptions,
  })
  const outcomes = await fixture.report()
  const ours = (code: string) => ({ ours: true, code: `ERR_STILLFRAME_${code}` })
  const file = inDirectory('file')
  const missing = { errnoName: 'ENOENT', errno: -2 }
  const restored = [3, 1, 2, 3, 1, 2, 3]
  expect(outcomes).toMatchObject({
    'no directory': { ...ours('IO'), ...missing, path: inDirectory('none/file') },
    exists: { ...ours('EXISTS'), path: file },
    'no file': { ...ours('IO'), ...missing, path: `${file}-none` },
    'no section': { name: 'TypeError', code: 'ERR_INVALID_ARG_VALUE' },
    'not values': { ...ours('FORMAT'), path: file },
    'same file': { ...ours('BUSY'), path: file },
    'region in another capture': 'fork',
    abort: { name: 'AbortError' },
    'ArrayBuffer captured and restored': restored,
    'SharedArrayBuffer captured and restored': restored,
    'Uint8Array captured and restored': restored,
    'DataView captured and restored': restored,
    'a Map is no source': { name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE' },
    'a Map is a value': [1],
    'error of the callback': {
      code: 'ERR_STILLFRAME_CALLBACK',
      message: expect.stringMatching(/threw: inner$/),
      cause: { name: 'RangeError', message: 'inner', code: 'ERR_INNER' },
    },
    URL: [1, true],
    AbortSignal: { message: 'enough' },
    metadata: { code: 'ERR_INVALID_ARG_VALUE', message: expect.stringMatching(/JSON: Converting circular/) },
  })
  expect(await fixture.end).toEqual({ status: 0, signal: null, stderr: '' })
})
