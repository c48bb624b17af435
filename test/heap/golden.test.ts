/**
 * Promise: every later version of the package and of Node can read every file of values that was
 * ever written. Proved on golden files, made once by scripts/make-golden-values.mjs and compared
 * with their known values.
 */

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { isDeepStrictEqual } from 'node:util'
import { gunzipSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { golden } from './golden/contents.mjs'
import { valuesOf } from './values-of.js'

const files = fileURLToPath(new URL('golden/', import.meta.url))
const inDirectory = useTemporaryDirectory()

test('there is a golden file for each entry, and an entry for each file', () => {
  const names = readdirSync(files).flatMap((name) => /^(.*)\.values\.gz$/.exec(name)?.[1] ?? [])
  expect(names.sort()).toEqual(Object.keys(golden).sort())
})

test.each(Object.entries(golden))('the golden file %s gives its values', async (name, values) => {
  const path = inDirectory(name)
  writeFileSync(path, gunzipSync(readFileSync(join(files, `${name}.values.gz`))))
  const read = await valuesOf(path)
  expect(read).toHaveLength(values.length)
  for (const [index, value] of read.entries()) {
    expect(isDeepStrictEqual(value, values[index]), `value ${index}`).toBe(true)
  }
})
