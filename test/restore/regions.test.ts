// Promise I9: restored regions are memory like any other: writable, private to the process, and
// usable for the next snapshot. Proved by writing to them, capturing them again, and comparing the
// file byte for byte.

import { createHash } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Region, type Restored, restore, snapshot } from 'stillframe'
import { beforeAll, describe, expect, it } from 'vitest'
import { rejectionOf } from '../support/expect-error.js'
import { Random } from '../support/random.mjs'
import { touchAllPages } from '../support/random-writes.js'
import { differenceOf, isFilledWith } from '../support/restored.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'original.snap')
const contents: Record<string, Uint8Array> = {
  vectors: new Uint8Array((6 << 20) + 77),
  counters: new Uint8Array(4096),
  // Blocks of zeros between others, which are holes in the file.
  sparse: new Uint8Array(3 << 20),
  empty: new Uint8Array(0),
}
const names = Object.keys(contents)

beforeAll(async () => {
  new Random(1).fill(contents['vectors'] as Uint8Array)
  new Random(2).fill(contents['counters'] as Uint8Array)
  contents['sparse']?.fill(3, 1 << 20, (1 << 20) + 4096)
  await snapshot(contents, path, { metadata: ['kept'] }).done
})

function bytesOf({ regions }: Restored, name: string): Uint8Array {
  return new Uint8Array(regions[name]?.buffer as ArrayBuffer)
}

function hashOf(file: string): string {
  return createHash('sha256').update(readFileSync(file)).digest('hex')
}

describe.each(['map', 'copy'] as const)("regions restored with mode '%s'", (mode) => {
  it('can be written everywhere, and the file stays as it is, byte for byte', async () => {
    const before = hashOf(path)
    const { mtimeMs, ino } = statSync(path)
    using restored = await restore(path, { mode })
    for (const name of names) {
      const bytes = bytesOf(restored, name)
      expect(differenceOf(bytes, contents[name] as Uint8Array)).toBeUndefined()
      bytes.fill(0xfe)
    }
    using again = await restore(path, { mode })
    for (const name of names) {
      expect(differenceOf(bytesOf(again, name), contents[name] as Uint8Array)).toBeUndefined()
      expect(isFilledWith(bytesOf(restored, name), 0xfe)).toBe(true)
    }
    expect(hashOf(path)).toBe(before)
    expect(statSync(path)).toMatchObject({ mtimeMs, ino })
  })

  it('can be captured again, as they are then', async () => {
    using restored = await restore(path, { mode })
    const second = join(directory, `second-${mode}.snap`)
    const random = new Random(5)
    const expected: Record<string, Uint8Array> = {}
    for (const name of names) {
      const bytes = bytesOf(restored, name)
      if (bytes.length > 0) random.fill(bytes.subarray(0, bytes.length / 2))
      expected[name] = new Uint8Array(bytes)
    }
    const { done } = snapshot(restored.regions, second)
    for (const name of names) touchAllPages(bytesOf(restored, name))
    await done
    using again = await restore(second, { mode })
    for (const name of names) {
      expect(differenceOf(bytesOf(again, name), expected[name] as Uint8Array)).toBeUndefined()
    }
  })

  it('can be captured into the very file that they came from', async () => {
    const own = join(directory, `own-${mode}.snap`)
    await snapshot(contents, own).done
    using restored = await restore(own, { mode })
    bytesOf(restored, 'vectors').fill(0x11, 0, 5000)
    const expected = new Uint8Array(bytesOf(restored, 'vectors'))
    await snapshot(restored.regions, own).done
    // The mapping still shows the replaced file.
    expect(differenceOf(bytesOf(restored, 'vectors'), expected)).toBeUndefined()
    expect(differenceOf(bytesOf(restored, 'sparse'), contents['sparse'] as Uint8Array)).toBeUndefined()
    using again = await restore(own, { mode })
    expect(differenceOf(bytesOf(again, 'vectors'), expected)).toBeUndefined()
  })

  it('keep their content when a newer snapshot replaces the file', async () => {
    const replaced = join(directory, `replaced-${mode}.snap`)
    await snapshot(contents, replaced).done
    using restored = await restore(replaced, { mode, verify: false })
    for (let i = 1; i <= 3; i++) {
      await snapshot({ vectors: new Uint8Array(10 << 20).fill(i) }, replaced).done
    }
    for (const name of names) {
      expect(differenceOf(bytesOf(restored, name), contents[name] as Uint8Array)).toBeUndefined()
    }
    using newer = await restore(replaced, { mode })
    expect(bytesOf(newer, 'vectors')[0]).toBe(3)
  })

  it('are named after their sections and have their exact lengths', async () => {
    using restored = await restore(path, { mode })
    expect(Object.keys(restored.regions).sort()).toEqual([...names].sort())
    for (const name of names) {
      const region = restored.regions[name]
      expect(region).toBeInstanceOf(Region)
      expect(region?.name).toBe(name)
      expect(region?.byteLength).toBe(contents[name]?.length)
      expect(region?.buffer.byteLength).toBe(contents[name]?.length)
    }
    expect(restored.metadata).toEqual(['kept'])
  })

  it('are closed by close(), which may be called twice', async () => {
    const restored = await restore(path, { mode })
    const views = names.map((name) => bytesOf(restored, name))
    restored.close()
    restored.close()
    expect(views.map((view) => view.length)).toEqual(names.map(() => 0))
    for (const region of Object.values(restored.regions)) {
      expect(() => region.buffer).toThrow(expect.objectContaining({ code: 'ERR_STILLFRAME_CLOSED' }))
    }
  })

  it('are all left open by a close() while one of them is being captured', async () => {
    const restored = await restore(path, { mode })
    const sparse = restored.regions['sparse'] as Region
    const running = snapshot(sparse, join(directory, `busy-${mode}.snap`))
    expect(() => restored.close()).toThrow(expect.objectContaining({ code: 'ERR_STILLFRAME_BUSY' }))
    for (const name of names) expect(bytesOf(restored, name).length).toBe(contents[name]?.length)
    await running.done
    restored.close()
  })
})

describe('only what was asked for is restored', () => {
  it('some sections', async () => {
    using restored = await restore(path, { sections: ['sparse', 'counters', 'sparse'] })
    expect(Object.keys(restored.regions).sort()).toEqual(['counters', 'sparse'])
    expect(restored.info.sections.map(({ name }) => name)).toEqual(names)
  })

  it('some into memory, some as new regions', async () => {
    const counters = new Uint8Array(5000)
    using restored = await restore(path, { into: { counters }, sections: ['counters', 'vectors'] })
    expect(Object.keys(restored.regions)).toEqual(['vectors'])
    expect(differenceOf(counters.subarray(0, 4096), contents['counters'] as Uint8Array)).toBeUndefined()
    expect(differenceOf(bytesOf(restored, 'vectors'), contents['vectors'] as Uint8Array)).toBeUndefined()
  })

  it('not a section that the file does not have: the error says which it has', async () => {
    const error = await rejectionOf(restore(path, { sections: ['vectors', 'vektors'] }))
    expect(error).toBeInstanceOf(TypeError)
    expect(error.code).toBe('ERR_INVALID_ARG_VALUE')
    for (const name of ['vektors', ...names]) expect(error.message).toContain(`'${name}'`)
  })

  it('up to maxBytes, counted over the chosen sections only', async () => {
    const vectors = contents['vectors']?.length as number
    const all = names.reduce((sum, name) => sum + (contents[name]?.length as number), 0)
    for (const [options, limit] of [
      [{}, all],
      [{ sections: ['vectors'] }, vectors],
      [{ into: { vectors: new Uint8Array(vectors) } }, vectors],
    ] as const) {
      const error = await rejectionOf(restore(path, { ...options, maxBytes: limit - 1 }))
      expect(error).toBeInstanceOf(RangeError)
      expect(error).toMatchObject({ code: 'ERR_OUT_OF_RANGE', message: expect.stringContaining('maxBytes') })
      const restored = await restore(path, { ...options, maxBytes: limit })
      restored.close()
    }
  })
})
