// Promise I9 and I6: `restore({ into })` fills exactly the bytes of the section, or leaves the
// memory unchanged and gives the reason. Proved with targets that are larger, smaller, detached,
// shrunk and busy, and with damaged files.

import { copyFileSync } from 'node:fs'
import { syncBuiltinESMExports } from 'node:module'
import { join } from 'node:path'
import timers from 'node:timers'
import { inspect, Region, type RestoreTarget, restore, snapshot } from 'stillframe'
import { afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { flipByte } from '../support/damage.js'
import { type CodedError, rejectionOf } from '../support/expect-error.js'
import { detach, growableBuffer, resizableBuffer, wasmMemory } from '../support/memory-kinds.js'
import { Random } from '../support/random.mjs'
import { differenceOf, isFilledWith } from '../support/restored.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'original.snap')
// Many chunks, and a partial last page.
const contents = new Uint8Array((25 << 20) + 1234)
const small = new Uint8Array(777)

beforeAll(async () => {
  new Random(1).fill(contents)
  contents.fill(0, 5 << 20, 17 << 20) // whole chunks of zeros, while the target memory is not zero
  new Random(2).fill(small)
  await snapshot({ large: contents, small }, path, { metadata: { revision: 7 } }).done
})

const padding = 10_000

/** Targets with space after the section, each with a view of all of its bytes. */
const targets: Readonly<
  Record<string, (byteLength: number) => { target: RestoreTarget; bytes: Uint8Array }>
> = {
  'a Region': (byteLength) => {
    const target = Region.allocate(byteLength)
    return { target, bytes: new Uint8Array(target.buffer) }
  },
  'a view of a part of a Region': (byteLength) => {
    const bytes = new Uint8Array(Region.allocate(byteLength + 300).buffer, 111, byteLength)
    return { target: bytes, bytes }
  },
  'an ArrayBuffer': (byteLength) => {
    const target = new ArrayBuffer(byteLength)
    return { target, bytes: new Uint8Array(target) }
  },
  'a resizable ArrayBuffer': (byteLength) => {
    const target = resizableBuffer(byteLength, byteLength * 2)
    return { target, bytes: new Uint8Array(target) }
  },
  'a SharedArrayBuffer': (byteLength) => {
    const target = new SharedArrayBuffer(byteLength)
    return { target, bytes: new Uint8Array(target) }
  },
  'a growable SharedArrayBuffer': (byteLength) => {
    const target = growableBuffer(byteLength, byteLength * 2)
    return { target, bytes: new Uint8Array(target) }
  },
  'a DataView': (byteLength) => {
    const target = new DataView(new ArrayBuffer(byteLength + 7), 5, byteLength)
    return { target, bytes: new Uint8Array(target.buffer, 5, byteLength) }
  },
  'a Buffer': (byteLength) => {
    const target = Buffer.from(new ArrayBuffer(byteLength + 7), 3, byteLength)
    return { target, bytes: target }
  },
  'a WebAssembly.Memory': (byteLength) => {
    const target = wasmMemory(Math.ceil(byteLength / 65536), 4096)
    return { target, bytes: new Uint8Array(target.buffer) }
  },
  'a shared WebAssembly.Memory': (byteLength) => {
    const target = wasmMemory(Math.ceil(byteLength / 65536), 4096, true)
    return { target, bytes: new Uint8Array(target.buffer) }
  },
}

describe.each(Object.entries(targets))('restored into %s', (_name, make) => {
  it('the section is there, and what lies behind it is as it was', async () => {
    const { target, bytes } = make(contents.length + padding)
    bytes.fill(0xab)
    const restored = await restore(path, { into: { large: target } })
    expect(differenceOf(bytes.subarray(0, contents.length), contents)).toBeUndefined()
    expect(isFilledWith(bytes.subarray(contents.length), 0xab)).toBe(true)
    // A section restored into the caller's memory is not a region of the result, and close() does
    // not touch it.
    expect(Object.keys(restored.regions)).toEqual([])
    expect(restored.metadata).toEqual({ revision: 7 })
    restored.close()
    expect(bytes[0]).toBe(contents[0])
  })

  it('nothing around a view is touched, and nothing is filled without verification either', async () => {
    const { target, bytes } = make(contents.length + padding)
    const around = new Uint8Array(bytes.buffer)
    around.fill(0xcd)
    await restore(path, { into: { small: target }, verify: false })
    expect(differenceOf(bytes.subarray(0, small.length), small)).toBeUndefined()
    const start = bytes.byteOffset
    expect(isFilledWith(around.subarray(0, start), 0xcd)).toBe(true)
    expect(isFilledWith(around.subarray(start + small.length), 0xcd)).toBe(true)
  })

  it('a damaged file is refused before the first byte is filled', async () => {
    const damaged = join(directory, 'damaged.snap')
    copyFileSync(path, damaged)
    const { sections } = await inspect(path)
    const large = sections.find(({ name }) => name === 'large')
    const offset = (large?.fileOffset ?? 0) + contents.length - 5000
    flipByte(damaged, offset)
    const { target, bytes } = make(contents.length + padding)
    bytes.fill(0x55)
    const error = await rejectionOf(restore(damaged, { into: { large: target } }))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', section: 'large', path: damaged })
    expect(isFilledWith(bytes, 0x55)).toBe(true)
  })

  it('damage in another section is refused too', async () => {
    const damaged = join(directory, 'damaged.snap')
    copyFileSync(path, damaged)
    const section = (await inspect(path)).sections.find(({ name }) => name === 'small')
    flipByte(damaged, section?.fileOffset ?? 0)
    const { target, bytes } = make(contents.length + padding)
    bytes.fill(0x55)
    const error = await rejectionOf(restore(damaged, { into: { large: target } }))
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', section: 'small' })
    expect(isFilledWith(bytes, 0x55)).toBe(true)
  })
})

describe('a target that is too small is refused before anything is filled', () => {
  it.each(Object.entries(targets))('%s', async (_name, make) => {
    const { target, bytes } = make(contents.length - 100_000)
    bytes.fill(0x66)
    const error = await rejectionOf(restore(path, { into: { large: target } }))
    expect(error).toBeInstanceOf(RangeError)
    expect(error.code).toBe('ERR_OUT_OF_RANGE')
    expect(error.message).toContain('large')
    expect(isFilledWith(bytes, 0x66)).toBe(true)
  })

  it('by a single byte, also when another target would fit', async () => {
    const fits = new Uint8Array(small.length).fill(0x66)
    const tooSmall = Region.allocate(contents.length - 1)
    const error = await rejectionOf(restore(path, { into: { small: fits, large: tooSmall } }))
    expect(error.code).toBe('ERR_OUT_OF_RANGE')
    expect(isFilledWith(fits, 0x66)).toBe(true)
    expect(isFilledWith(new Uint8Array(tooSmall.buffer), 0)).toBe(true)
    tooSmall.close()
  })
})

describe('memory that goes away while it is being filled ends the restore with an error, not the process', () => {
  afterEach(() => {
    vi.restoreAllMocks()
    syncBuiltinESMExports()
  })

  /**
   * Runs `meddle` as soon as the second chunk has been filled, before the next one is requested.
   */
  function afterSecondChunk(meddle: () => void): void {
    const { setImmediate: later } = timers
    let chunks = 0
    vi.spyOn(timers, 'setImmediate').mockImplementation(((done: () => void, ...rest: []) =>
      later(() => {
        // The turn between two chunks has a native function as its callback.
        if (String(done).includes('[native code]') && ++chunks === 2) meddle()
        done(...rest)
      })) as typeof setImmediate)
    syncBuiltinESMExports()
  }

  async function rejectionWhileFilling(target: RestoreTarget, meddle: () => void): Promise<CodedError> {
    const meddled = vi.fn(meddle)
    afterSecondChunk(meddled)
    const error = await rejectionOf(restore(path, { into: { large: target }, verify: false }))
    expect(meddled).toHaveBeenCalledOnce()
    return error
  }

  const closed = { code: 'ERR_STILLFRAME_CLOSED', path }

  it('a detached ArrayBuffer', async () => {
    const buffer = new ArrayBuffer(contents.length)
    const error = await rejectionWhileFilling(buffer, () => detach(buffer))
    expect(error).toMatchObject(closed)
    expect(error.message).toContain("'large'")
  })

  it('a shrunk ArrayBuffer', async () => {
    const buffer = resizableBuffer(contents.length, contents.length * 2)
    const error = await rejectionWhileFilling(buffer, () => buffer.resize(5 << 20))
    expect(error).toMatchObject(closed)
    expect(buffer.byteLength).toBe(5 << 20)
  })

  it('a view that lies outside of its shrunk buffer', async () => {
    const buffer = resizableBuffer(contents.length + 100, contents.length * 2)
    const view = new DataView(buffer, 100, contents.length)
    const error = await rejectionWhileFilling(view, () => buffer.resize(contents.length))
    expect(error).toMatchObject(closed)
  })

  it('a view of a part of a Region that is closed meanwhile', async () => {
    const region = Region.allocate(contents.length + 1)
    const error = await rejectionWhileFilling(new Uint8Array(region.buffer, 1), () => region.close())
    expect(error).toMatchObject(closed)
  })

  it('any of them, directly after the call', async () => {
    const buffer = resizableBuffer(contents.length, contents.length * 2)
    const region = Region.allocate(contents.length + 1)
    const detached = new ArrayBuffer(contents.length)
    const settled = [buffer, new Uint8Array(region.buffer, 1), detached].map((large) => {
      return rejectionOf(restore(path, { into: { large }, verify: false }))
    })
    buffer.resize(0)
    region.close()
    detach(detached)
    for (const error of await Promise.all(settled)) expect(error).toMatchObject(closed)
  })

  it('nothing is filled any more once the restore has been aborted', async () => {
    const sleeper = new Int32Array(new SharedArrayBuffer(4))
    const region = Region.allocate(contents.length + 1)
    const target = new Uint8Array(region.buffer, 1)
    for (let round = 0; round < 5; round++) {
      const controller = new AbortController()
      const { signal } = controller
      const rejection = rejectionOf(restore(path, { into: { large: target }, verify: false, signal }))
      // After this wait, the first chunk is queued for this thread.
      Atomics.wait(sleeper, 0, 0, 100)
      controller.abort()
      target.fill(0x55)
      // After this wait, the thread that read the chunk has ended, and its memory is gone.
      Atomics.wait(sleeper, 0, 0, 20)
      expect(await rejection).toMatchObject({ name: 'AbortError' })
      expect(isFilledWith(target, 0x55)).toBe(true)
    }
  })

  it('but a WebAssembly.Memory that grows meanwhile, and so moves to a new buffer, is filled to the end', async () => {
    const memory = wasmMemory(Math.ceil(contents.length / 65536), 4096)
    const before = memory.buffer
    afterSecondChunk(() => memory.grow(5))
    await restore(path, { into: { large: memory }, verify: false })
    expect(memory.buffer).not.toBe(before)
    expect(differenceOf(new Uint8Array(memory.buffer, 0, contents.length), contents)).toBeUndefined()
  })

  it('but a Region that is being filled cannot be closed', async () => {
    const region = Region.allocate(contents.length)
    const running = restore(path, { into: { large: region } })
    expect(() => region.close()).toThrow(expect.objectContaining({ code: 'ERR_STILLFRAME_BUSY' }))
    await running
    expect(differenceOf(new Uint8Array(region.buffer), contents)).toBeUndefined()
    region.close()
  })
})

describe('what cannot be filled is refused at the call', () => {
  it('a closed Region', async () => {
    const region = Region.allocate(contents.length)
    region.close()
    expect(await rejectionOf(restore(path, { into: { large: region } }))).toMatchObject({
      code: 'ERR_STILLFRAME_CLOSED',
    })
  })

  it('a detached ArrayBuffer', async () => {
    const buffer = new ArrayBuffer(contents.length)
    detach(buffer)
    expect(await rejectionOf(restore(path, { into: { large: buffer } }))).toMatchObject({
      code: 'ERR_INVALID_ARG_VALUE',
    })
  })

  it('two sections in the same bytes', async () => {
    const buffer = new ArrayBuffer(contents.length)
    const into = { large: buffer, small: new Uint8Array(buffer, 100) }
    expect(await rejectionOf(restore(path, { into }))).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE' })
  })

  it('memory for a section that the file does not have', async () => {
    const other = new Uint8Array(10)
    expect(
      await rejectionOf(restore(path, { into: { large: new Uint8Array(contents.length), other } })),
    ).toMatchObject({ code: 'ERR_INVALID_ARG_VALUE', message: expect.stringContaining("'other'") })
  })
})
