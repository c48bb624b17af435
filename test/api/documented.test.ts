/**
 * Promise: every error code, every option of `snapshot()` and every export of the package is
 * documented in docs/. Proved by searching the headings and tables of the pages for the
 * declarations in the source.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import * as archive from '../../lib/archive/index.js'
import * as heap from '../../lib/heap/index.js'
import * as main from '../../lib/index.js'
import * as reader from '../../lib/reader/index.js'
import { fileOptionNames } from '../../lib/snapshot/file-options.js'
import { captureOptionNames } from '../../lib/snapshot/options.js'

function textOf(file: string): string {
  return readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8')
}

function found(text: string, pattern: RegExp): string[] {
  return [...new Set([...text.matchAll(pattern)].map(([, name]) => name as string))]
}

test('every error code has a heading in docs/ERRORS.md, and no other has', () => {
  const [, union = ''] =
    /export type StillframeErrorCode =\n(.*?)\n\n/s.exec(textOf('lib/base/errors.ts')) ?? []
  const codes = found(union, /'(ERR_STILLFRAME_\w+)'/g)
  expect(codes.length).toBeGreaterThan(10)
  expect(found(textOf('docs/ERRORS.md'), /^### (ERR_STILLFRAME_\w+)$/gm)).toEqual(codes)
})

test('every option of snapshot() is in the table of docs/API.md, and nothing else is', () => {
  const [, known = ''] = /^const known = \[(.*?)\]/ms.exec(textOf('lib/snapshot/options.ts')) ?? []
  const [, table = ''] = /^## Options of `snapshot\(\)`\n(.*?)^## /ms.exec(textOf('docs/API.md')) ?? []
  const names = table.split('\n').flatMap((row) => found(row.split('|')[1] ?? '', /`(\w+)`/g))
  expect(names.sort()).toEqual(
    [...captureOptionNames, ...found(known, /'(\w+)'/g), ...fileOptionNames].sort(),
  )
})

test('every export is in docs/API.md, and those of the reader in docs/READER.md', () => {
  let text = textOf('docs/API.md')
  // Objects that functions return have no row of their own.
  const returned = ['ForkJob', 'MemoryWatch', 'Restored', 'Snapshot']
  const missing = (module: object, before: string): string[] =>
    Object.keys(module).filter(
      (name) => !returned.includes(name) && !new RegExp(`${before}\`${name}\\b`, 'm').test(text),
    )
  expect(missing(main, '^\\| ')).toEqual([])
  expect(missing(heap, '')).toEqual([])
  expect(missing(archive, '')).toEqual([])
  text = textOf('docs/READER.md')
  expect(missing(reader, '^\\| ')).toEqual([])
})
