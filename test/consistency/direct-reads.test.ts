/**
 * Promise: the file contains every write before the call and none after it (I1), even while the
 * kernel reads directly into the memory, bypassing its page table. Proved with direct reads in
 * flight at the freeze, and by checking which engine is chosen, and which is refused, while such
 * reads are possible.
 */

import { closeSync, constants, existsSync, openSync, read, writeFileSync } from 'node:fs'
import { preflight, Region, restore, type SnapshotOptions, snapshot } from 'stillframe'
import { afterEach, describe, expect, type TestContext, test } from 'vitest'
import { thrownBy } from '../support/expect-error.js'
import { bigRegion, holdSnapshot } from '../support/held-snapshot.mjs'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const open: number[] = []
afterEach(() => {
  for (const fd of open.splice(0)) closeSync(fd)
})

/** Opens a file of 0xbb bytes; skips the test if the filesystem does not accept the flags. */
function openFile(context: TestContext, flags: number, byteLength = 4096): number {
  const path = inDirectory('source')
  if (!existsSync(path)) writeFileSync(path, Buffer.alloc(byteLength, 0xbb))
  try {
    const fd = openSync(path, flags)
    open.push(fd)
    return fd
  } catch (error) {
    return context.skip(`the filesystem of the temporary directory does not take O_DIRECT: ${error}`)
  }
}

const { O_RDONLY, O_WRONLY, O_DIRECT } = constants

test('pages that a direct read fills after the freeze are not in the file', async (context) => {
  const byteLength = 64 << 20
  const piece = 8 << 20
  const fd = openFile(context, O_RDONLY | O_DIRECT, byteLength)
  const region = Region.allocate(byteLength)
  const bytes = new Uint8Array(region.buffer).fill(0xaa)
  const reads: Promise<void>[] = []
  for (let at = 0; at < byteLength; at += piece) {
    reads.push(new Promise((done) => read(fd, bytes, at, piece, at, () => done())))
  }
  const shot = snapshot(region, inDirectory('file'))
  expect(shot.engine).toBe('fork')
  // Pages that are still unread now were unread at the freeze.
  const unread: number[] = []
  for (let at = 0; at < byteLength; at += 4096) if (bytes[at] === 0xaa) unread.push(at)
  await Promise.all(reads)
  await shot.done
  expect(bytes.every((byte) => byte === 0xbb)).toBe(true)
  const restored = await restore(inDirectory('file'))
  const saved = new Uint8Array((restored.regions['main'] as Region).buffer)
  expect(unread.filter((at) => saved[at] !== 0xaa)).toEqual([])
  restored.close()
})

describe('while a file is open for direct reads', () => {
  const region = Region.allocate(1 << 20)
  const engineOf = async (options: SnapshotOptions): Promise<string> => {
    const shot = snapshot(region, inDirectory('file'), options)
    await shot.done
    return shot.engine
  }

  test("'auto' takes fork, and preflight() says so and names the file", async (context) => {
    openFile(context, O_RDONLY | O_DIRECT)
    expect(await engineOf({})).toBe('fork')
    expect(await engineOf({ kernelWrites: true })).toBe('fork')
    expect((await preflight(region, inDirectory('file'))).engine).toBe('fork')
  })

  test('an engine by name is refused, and told which file it is', (context) => {
    const fd = openFile(context, O_RDONLY | O_DIRECT)
    for (const options of [
      { engine: 'userfaultfd' },
      { engine: 'userfaultfd', kernelWrites: true },
      { engine: 'mprotect' },
    ] as const) {
      if (options.engine === 'userfaultfd') needsVariant(context, 'userfaultfd thread')
      expect(thrownBy(() => snapshot(region, inDirectory('file'), options))).toMatchObject({
        code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE',
        message: expect.stringContaining(`descriptor ${fd} ('${inDirectory('source')}')`),
      })
    }
  })

  test('kernelWrites: false is taken at its word, and preflight() calls it a hazard', async (context) => {
    openFile(context, O_RDONLY | O_DIRECT)
    expect(await engineOf({ engine: 'mprotect', kernelWrites: false })).toBe('mprotect')
    const { engine, hazards } = await preflight(region, inDirectory('file'), { kernelWrites: false })
    expect(engine).not.toBe('fork')
    expect(hazards.map(({ code }) => code)).toContain('DIRECT_READS')
  })
})

test('direct writes, and the files of other captures and restores, change nothing', async (context) => {
  needsVariant(context, 'userfaultfd thread')
  openFile(context, O_WRONLY | O_DIRECT)
  const region = bigRegion()
  const held = holdSnapshot(region, inDirectory('held'))
  const other = Region.allocate(1 << 20)
  const shot = snapshot(other, inDirectory('file'))
  expect(shot.engine).toBe('userfaultfd')
  await shot.done
  held.release()
  await held.taken.done
  const restoring = restore(inDirectory('held'), { mode: 'copy' })
  const beside = snapshot(other, inDirectory('file'))
  expect(beside.engine).toBe('userfaultfd')
  await beside.done
  ;(await restoring).close()
})

describe("kernelWrites: 'direct'", () => {
  test("says that such reads fill the sources: 'auto' takes fork, another engine by name is refused", async () => {
    const region = Region.allocate(1 << 20)
    const shot = snapshot(region, inDirectory('file'), { kernelWrites: 'direct' })
    expect(shot.engine).toBe('fork')
    await shot.done
    for (const engine of ['userfaultfd', 'mprotect'] as const) {
      expect(
        thrownBy(() => snapshot(region, inDirectory('file'), { engine, kernelWrites: 'direct' })),
      ).toMatchObject({ code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE' })
    }
  })

  test('is the only text that it takes', () => {
    const options = { kernelWrites: 'buffered' } as unknown as SnapshotOptions
    expect(thrownBy(() => snapshot(new Uint8Array(1), inDirectory('file'), options))).toMatchObject({
      name: 'TypeError',
      code: 'ERR_INVALID_ARG_VALUE',
    })
  })
})
