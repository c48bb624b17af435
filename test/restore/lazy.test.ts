/**
 * Promise I6, I9: memory that is handed out before it is read equals the frozen memory, whoever
 * accesses which part first. Damage is an error of `ready` and is never visible. Once the memory is
 * complete, the host may use it like any other memory.
 *
 * Proved on files of every kind, against copies of the memory.
 */

import { execFileSync } from 'node:child_process'
import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, writeSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { deflate } from 'node:zlib'
import { Region, type Restored, restore, type SnapshotOptions, snapshot } from 'stillframe'
import { beforeEach, describe, expect, it } from 'vitest'
import { flipByte } from '../support/damage.js'
import { rejectionOf, thrownBy } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { needsLazyRestore } from '../support/lazy-restore.js'
import { waitUntil } from '../support/processes.mjs'
import { Random } from '../support/random.mjs'
import { writeRandomly } from '../support/random-writes.js'
import { differenceOf } from '../support/restored.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
beforeEach(needsLazyRestore)

/** Several sections, including zeros and lengths that end within a page. */
function contents(): Record<string, Uint8Array> {
  const made = {
    vectors: new Uint8Array((6 << 20) + 77),
    sparse: new Uint8Array(3 << 20),
    small: new Uint8Array(3),
    empty: new Uint8Array(0),
  }
  new Random(1).fill(made.vectors.subarray(0, 5 << 20))
  made.sparse.fill(3, 1 << 20, (1 << 20) + 4096)
  made.small.fill(9)
  return made
}

function bytesOf({ regions }: Restored, name: string): Uint8Array {
  return new Uint8Array((regions[name] as Region).buffer)
}

function differencesOf(restored: Restored, expected: Record<string, Uint8Array>): unknown[] {
  return Object.entries(expected)
    .map(([name, bytes]) => differenceOf(bytesOf(restored, name), bytes))
    .filter((difference) => difference !== undefined)
}

describe.each([
  ['flat', {}],
  ['packed', { compression: 'zstd' }],
] as const satisfies [string, SnapshotOptions][])('a %s file', (_kind, options) => {
  it('comes back as it was, whatever is touched before all is there', async () => {
    const expected = contents()
    const path = inDirectory('file')
    await snapshot(expected, path, { ...options, metadata: { epoch: 3 } }).done
    const progress: number[] = []
    using restored = await restore(path, {
      mode: 'lazy',
      onProgress: ({ bytesDone }) => progress.push(bytesDone),
    })
    expect(restored.metadata).toEqual({ epoch: 3 })
    const random = new Random(4)
    for (let turn = 0; turn < 100; turn++) {
      const at = random.below(expected['vectors']?.length as number)
      expect(bytesOf(restored, 'vectors')[at]).toBe(expected['vectors']?.[at])
    }
    await restored.ready
    expect(differencesOf(restored, expected)).toEqual([])
    const total = Object.values(expected).reduce((sum, { length }) => sum + length, 0)
    expect(progress.at(-1)).toBe(total)
  })

  it('is told to be damaged by ready, and nothing of the damage is seen', async () => {
    const expected = contents()
    const path = inDirectory('file')
    await snapshot(expected, path, options).done
    flipByte(path, 65536 + 1000)
    const restored = await restore(path, { mode: 'lazy' })
    const error = await rejectionOf(restored.ready)
    expect(error).toMatchObject({ code: 'ERR_STILLFRAME_CORRUPT', section: 'vectors', path })
    // A system call returns an error where a direct read would end the process. All bytes that it
    // returns are correct.
    const file = openSync(inDirectory('out'), 'w+')
    const vectors = bytesOf(restored, 'vectors')
    const refused: unknown[] = []
    for (let at = 0; at < vectors.length; at += 1 << 18) {
      try {
        writeSync(file, vectors, at, 1)
        expect(vectors[at]).toBe(expected['vectors']?.[at])
      } catch (error) {
        refused.push((error as NodeJS.ErrnoException).code)
      }
    }
    closeSync(file)
    expect(new Set(refused)).toEqual(new Set(['EFAULT']))
    restored.close()
  })
})

it('a chain comes back as it was at its end', async () => {
  const region = Region.allocate(4 << 20)
  const bytes = new Uint8Array(region.buffer)
  const random = new Random(2)
  random.fill(bytes)
  let parent: string | undefined
  for (let frame = 0; frame < 5; frame++) {
    const path = inDirectory(`${frame}.frame`)
    await snapshot(region, path, parent === undefined ? {} : { parent }).done
    parent = path
    if (frame < 4) writeRandomly(bytes, random, 30)
  }
  using restored = await restore(parent as string, { mode: 'lazy' })
  await restored.ready
  expect(differenceOf(bytesOf(restored, 'main'), bytes)).toBeUndefined()
})

it('it can be written to while it comes, and captured when it is there', async () => {
  const expected = contents()
  const path = inDirectory('file')
  await snapshot(expected, path).done
  using restored = await restore(path, { mode: 'lazy' })
  const vectors = bytesOf(restored, 'vectors')
  for (let at = 0; at < vectors.length; at += 100_000)
    vectors[at] = (expected['vectors'] as Uint8Array)[at] = 200
  await restored.ready
  const again = inDirectory('again')
  await snapshot(restored.regions, again).done
  using second = await restore(again)
  expect(differencesOf(second, expected)).toEqual([])
})

it('threads of the pool may touch what is not there, all of them at once', async () => {
  const expected = contents()
  const path = inDirectory('file')
  await snapshot(expected, path).done
  using restored = await restore(path, { mode: 'lazy' })
  const piece = (bytes: Uint8Array, index: number): Uint8Array =>
    bytes.subarray(index << 19, (index + 1) << 19)
  const packed = await Promise.all(
    Array.from({ length: 12 }, (_, index) => promisify(deflate)(piece(bytesOf(restored, 'vectors'), index))),
  )
  const right = await Promise.all(
    Array.from({ length: 12 }, (_, index) =>
      promisify(deflate)(piece(expected['vectors'] as Uint8Array, index)),
    ),
  )
  expect(packed.map((one, index) => one.equals(right[index] as Buffer))).not.toContain(false)
  await restored.ready
})

describe('while pages are still to come', () => {
  /** Restores a file that is large enough to take a while. */
  async function restoreLarge(options: Parameters<typeof restore>[1] = {}): Promise<Restored> {
    const region = Region.allocate(96 << 20)
    new Random(1).fill(new Uint8Array(region.buffer))
    const path = inDirectory('large')
    await snapshot(region, path, { compression: 'zstd' }).done
    region.close()
    return await restore(path, { mode: 'lazy', ...options })
  }

  it('a snapshot of it, a restore into it and the end of a region are refused, and close() ends it', async () => {
    const restored = await restoreLarge()
    const { main } = restored.regions
    const region = main as Region
    let isReady = false
    restored.ready.then(
      () => {
        isReady = true
      },
      () => {},
    )
    const refused = [
      thrownBy(() => snapshot(region, inDirectory('refused'))),
      thrownBy(() => region.close()),
      await rejectionOf(restore(inDirectory('large'), { into: { main: region } })),
    ]
    expect(isReady).toBe(false)
    for (const error of refused) expect(error.code).toBe('ERR_STILLFRAME_BUSY')
    restored.close()
    expect(await rejectionOf(restored.ready)).toMatchObject({ code: 'ERR_STILLFRAME_CLOSED' })
    expect(region.byteLength).toBe(96 << 20)
    expect(thrownBy(() => region.buffer).code).toBe('ERR_STILLFRAME_CLOSED')
  })

  it('an abort ends it with its reason', async () => {
    const controller = new AbortController()
    const restored = await restoreLarge({ signal: controller.signal })
    controller.abort(new Error('enough'))
    expect(await rejectionOf(restored.ready)).toMatchObject({ message: 'enough' })
    restored.close()
    const never = restore(inDirectory('large'), { mode: 'lazy', signal: controller.signal })
    expect(await rejectionOf(never)).toMatchObject({ message: 'enough' })
  })

  it('the event loop goes on, and keeps the process until the end', async () => {
    const restored = await restoreLarge()
    let turns = 0
    const timer = setInterval(() => turns++, 1)
    await restored.ready
    clearInterval(timer)
    expect(turns).toBeGreaterThan(0)
    restored.close()
  })
})

it('a process that touches what cannot be read ends by SIGSEGV, after a line that says why', async () => {
  const path = inDirectory('file')
  await snapshot(contents(), path).done
  flipByte(path, 65536 + 1000)
  const { end } = startFixture(new URL('fixtures/touching.mjs', import.meta.url), [path])
  const { signal, stderr } = await end
  expect(signal).toBe('SIGSEGV')
  expect(stderr).toContain('stillframe: memory that is being restored cannot be read: block 0 does not match')
})

it('where userfaultfd is not allowed it is refused, with what to do', async () => {
  const path = inDirectory('file')
  await snapshot(contents(), path).done
  const program = `
    import { capabilities, restore } from 'stillframe'
    const error = await restore(process.argv[1], { mode: 'lazy' }).catch((error) => error)
    const { available } = capabilities().features.userfaultfd_missing
    console.log(JSON.stringify({ available, code: error.code, message: error.message }))`
  const env = { ...process.env, STILLFRAME_DISABLE: 'userfaultfd' }
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program, path], {
    env,
    encoding: 'utf8',
  })
  expect(JSON.parse(said)).toMatchObject({
    available: false,
    code: 'ERR_STILLFRAME_ENGINE_UNAVAILABLE',
    message: expect.stringMatching(/userfaultfd.*Restore with another mode/),
  })
})

it('holds no file any more when it is ready, however long the memory is kept', async () => {
  const held = (): string[] => {
    const opened = readdirSync('/proc/self/fd').map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`)
      } catch {
        return ''
      }
    })
    const mapped = readFileSync('/proc/self/maps', 'utf8').split('\n')
    return [...opened, ...mapped].filter((one) => one.includes(inDirectory('kept')))
  }
  const path = inDirectory('kept')
  await snapshot(contents(), path).done
  using restored = await restore(path, { mode: 'lazy' })
  await restored.ready
  await waitUntil(() => held().length === 0, 'the file is closed')
  expect(differencesOf(restored, contents())).toEqual([])
  expect(restored.info.sections.map(({ name }) => name)).toContain('vectors')
  expect(restored.firstUses).toBeInstanceOf(Array)
})

it('wrong options are refused', async () => {
  const path = inDirectory('file')
  await snapshot(contents(), path).done
  const into = { small: new Uint8Array(3) }
  expect(await rejectionOf(restore(path, { mode: 'lazy', into }))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
    message: expect.stringContaining('options.into'),
  })
  expect(await rejectionOf(restore(path, { mode: 'lazy', maxBytes: 100 }))).toMatchObject({
    code: 'ERR_OUT_OF_RANGE',
  })
  expect(await rejectionOf(restore(path, { mode: 'lazy', sections: ['other'] }))).toMatchObject({
    code: 'ERR_INVALID_ARG_VALUE',
  })
  for (const [firstUses, name] of [
    ['main', 'options.firstUses'],
    [[7], 'options.firstUses[0]'],
    [[{ section: 'small', offset: 0 }, { offset: 0 }], 'options.firstUses[1].section'],
    [[{ section: 'small', offset: 0.5 }], 'options.firstUses[0].offset'],
    [[{ section: 'small', offset: -1 }], 'options.firstUses[0].offset'],
  ] as const)
    expect(await rejectionOf(restore(path, { mode: 'lazy', firstUses: firstUses as never }))).toMatchObject({
      message: expect.stringContaining(name),
    })
  using one = await restore(path, { mode: 'lazy', sections: ['small'] })
  await one.ready
  expect(Object.keys(one.regions)).toEqual(['small'])
  // Restores in other modes are ready at once.
  using copy = await restore(path, { mode: 'copy' })
  expect(copy.firstUses).toEqual([])
  await Promise.race([copy.ready, sleep(0).then(() => expect.fail('it is not ready'))])
})
