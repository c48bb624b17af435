/**
 * Promise: files of values match the description in docs/HEAP.md. Proved by reading its worked
 * example, and by writing the same values.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { serialize } from 'node:v8'
import { readValues, snapshotState } from 'stillframe/heap'
import { expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const values = [{ a: 1 }, 'end']

/** The bytes of the hex dump in the document. */
function documented(): Buffer {
  const text = readFileSync(new URL('../../docs/HEAP.md', import.meta.url), 'utf8')
  const dump = /```hexdump\n([\s\S]*?)```/.exec(text)?.[1] ?? ''
  return Buffer.from(dump.replace(/^[0-9a-f]{8} /gm, '').replace(/\s/g, ''), 'hex')
}

test('the documented example is read as the values that it stands for', async () => {
  writeFileSync(inDirectory('example'), documented())
  const found: unknown[] = []
  for await (const value of readValues(inDirectory('example'))) found.push(value)
  expect(found).toEqual(values)
})

test('writing these values makes the documented bytes', async (context) => {
  // The second byte is the version of V8's own format.
  if (serialize(0)[1] !== 0x0f) context.skip('this Node serializes in a newer format of V8')
  await snapshotState(inDirectory('example'), (out) => {
    for (const value of values) out.value(value)
  }).done
  expect(readFileSync(inDirectory('example'))).toEqual(documented())
})
