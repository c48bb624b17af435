/**
 * Promise: if the disk refuses the data or the name (T7), the snapshot fails, publishes nothing,
 * and does not try again. Proved by making the first and the second fsync fail, for each way of
 * publishing.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import { snapshot, verify } from 'stillframe'
import { afterEach, describe, expect, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { needsOldFileBack } from '../support/needs.js'
import { fillPattern } from '../support/pattern.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
afterEach(() => void clearFaults())

const memory = fillPattern(new Uint8Array(300_000), 1)
const steps = ['the data', 'the name']

for (const [index, step] of steps.entries()) {
  for (const error of ['EIO', 'ENOSPC'] as const) {
    describe(`${error} from the fsync of ${step}`, () => {
      const expected = {
        name: 'StillframeError',
        code: error === 'EIO' ? 'ERR_STILLFRAME_IO' : 'ERR_STILLFRAME_NO_SPACE',
        errno: -constants.errno[error],
        syscall: 'fsync',
      }

      test('leaves the older file, and is not tried again', async (context) => {
        if (step === 'the name') await needsOldFileBack(context, inDirectory())
        await snapshot(new Uint8Array(10), inDirectory('file')).done
        const old = readFileSync(inDirectory('file'))
        injectFault('fsync', index + 1, error)
        expect(await rejectionOf(snapshot(memory, inDirectory('file')).done)).toMatchObject(expected)
        expect(clearFaults()['fsync']).toBe(index + 1)
        expect(readFileSync(inDirectory('file')).equals(old)).toBe(true)
        expect(readdirSync(inDirectory())).toEqual(['file'])
        await snapshot(memory, inDirectory('file')).done
        expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
      })

      test('leaves no file where there was none', async () => {
        injectFault('fsync', index + 1, error)
        expect(await rejectionOf(snapshot(memory, inDirectory('file')).done)).toMatchObject(expected)
        expect(clearFaults()['fsync']).toBe(index + 1)
        expect(readdirSync(inDirectory())).toEqual([])
      })
    })
  }
}

test('a durable snapshot asks for both, and one that is not for none', async () => {
  injectFault('fsync', 1000, 'EIO')
  await snapshot(memory, inDirectory('file')).done
  expect(clearFaults()['fsync']).toBe(2)
  injectFault('fsync', 1, 'EIO', true)
  await snapshot(memory, inDirectory('file'), { durable: false }).done
  expect(clearFaults()['fsync']).toBe(0)
})
