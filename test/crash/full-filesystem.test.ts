/**
 * Promise: on a full filesystem, a snapshot ends with ERR_STILLFRAME_NO_SPACE, leaves the older
 * file unchanged and nothing else, and the next one succeeds when there is space again. Proved on a
 * real filesystem of the kind under test, which scripts/test-filesystems.sh mounts; it may report
 * only when the file is synced that it is full.
 */

import {
  closeSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { Region, type StillframeError, snapshot, verify } from 'stillframe'
import { expect, type TestContext, test } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { Random } from '../support/random.mjs'
import { namesIn } from '../support/temporary-directory.js'

const MiB = 2 ** 20
/** More than the small filesystem has. A filesystem that accepts this much counts as unlimited. */
const most = 1024 * MiB

test('a filesystem that is full', async (context) => {
  const disk = needsSmallDisk(context)
  using region = Region.allocate(16 * MiB)
  new Random(1).fill(new Uint8Array(region.buffer))
  const path = join(disk, 'file')
  await snapshot(new Uint8Array(10), path).done
  const old = readFileSync(path)
  const others = namesIn(disk)

  const ballast = join(disk, 'ballast')
  try {
    const { taken, said } = fill(ballast)
    if (said === undefined) context.skip(`needs a filesystem with an end: it took ${taken / MiB} MiB`)
    // Some network filesystems have no error for a full disk.
    const codes = ['ERR_STILLFRAME_NO_SPACE', ...(said === 'ENOSPC' ? [] : ['ERR_STILLFRAME_IO'])]
    for (const free of [0, 1, 4, 12]) {
      cutTo(ballast, taken - free * MiB)
      const error = await rejectionOf((async () => await snapshot(region, path).done)())
      expect(codes, `${free} MiB are free`).toContain((error as StillframeError).code)
      expect(readFileSync(path).equals(old), `${free} MiB are free`).toBe(true)
      expect(namesIn(disk), `${free} MiB are free`).toEqual([...others, 'ballast'].sort())
    }
  } finally {
    rmSync(ballast, { force: true })
  }
  await snapshot(region, path).done
  expect(await verify(path)).toMatchObject({ ok: true })
  rmSync(path)
})

function needsSmallDisk(context: TestContext): string {
  const disk = process.env['STILLFRAME_TEST_SMALL_DISK']
  if (disk === undefined)
    context.skip('needs a small filesystem to fill: scripts/test-filesystems.sh mounts one')
  return disk as string
}

/** Writes a file until there is no space, and returns the error code. */
function fill(path: string): { taken: number; said?: string } {
  const piece = new Uint8Array(MiB)
  new Random(2).fill(piece)
  const file = openSync(path, 'wx')
  let taken = 0
  let said: string | undefined
  const note = (step: () => void): void => {
    try {
      step()
    } catch (error) {
      said ??= (error as NodeJS.ErrnoException).code
    }
  }
  note(() => {
    while (taken < most) taken += writeSync(file, piece, 0, MiB, taken)
    fsyncSync(file)
  })
  // Deferred writes may fail here as well.
  note(() => closeSync(file))
  return { taken: Math.min(taken, statSync(path).size), ...(said !== undefined && { said }) }
}

function cutTo(path: string, length: number): void {
  const file = openSync(path, 'r+')
  ftruncateSync(file, Math.max(length, 0))
  fsyncSync(file)
  closeSync(file)
}
