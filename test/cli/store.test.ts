/**
 * Promise: the archive commands accept stores as well: they list, restore, verify and report what
 * is there, sealed or not, do not end a service that is capturing unless told to, and name what is
 * missing if anything is.
 *
 * Proved with archives whose memory is known at each frame, in a directoryStore() and, where Ceph
 * is installed, in a bucket.
 */

import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { directoryStore, type Frame, type ObjectStore, openArchive } from '../../lib/archive/index.js'
import { s3 } from '../../lib/s3/index.js'
import { clientOf, needsS3Server, newBucket } from '../support/s3-server.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { type Json, run, runJson } from './run.js'

const temporary = useTemporaryDirectory()
const place = (): string => `store:${temporary('store')}`
const output = (): string => temporary('out')
const key = Buffer.alloc(32, 7)
/** Memory of the frames: frame n, counted from 1, is filled with n. */
const memory = Buffer.alloc(20 * 4096)
let frames: Frame[]

async function fill(store: ObjectStore, options: { encryption?: object } = {}): Promise<Frame[]> {
  const archive = await openArchive(store, { ...options, spool: temporary() })
  for (let n = 1; n <= 4; n++) {
    memory.fill(n)
    await archive.capture({ main: memory }).done
  }
  const found: Frame[] = []
  for await (const frame of archive.frames()) found.push(frame)
  await archive.close()
  return found
}

beforeEach(async () => {
  frames = await fill(directoryStore(temporary('store')))
})

const numbersOf = (json: Json, name: string): number[] =>
  (json[name] as unknown as Json[]).map(({ number }) => Number(number))

/** The object of a frame's memory, in the directory of the store. */
function objectOf(number: number): string {
  const data = join(temporary('store'), 'data', frames[number - 1]?.id ?? '')
  const [nonce = ''] = readdirSync(data)
  return join(data, nonce, 'm000000')
}

describe('an archive in a store', () => {
  it('is listed, for people and as JSON', async () => {
    const { status, stdout, stderr } = await run(['frames', place()])
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' })
    for (const { number, frozenAt, kind } of frames)
      expect(stdout.toString()).toMatch(
        new RegExp(`^ +${number}  ${frozenAt.toISOString()}  ${kind} +80 KiB`, 'm'),
      )
    expect(stdout.toString()).toMatch(/^4 frames, .* in the store$/m)
    const { json } = await runJson(['frames', place(), '--keep-last', '2'])
    expect(json['place']).toBe(place())
    expect(numbersOf(json, 'frames')).toEqual([1, 2, 3, 4])
    expect((json['frames'] as unknown as Json[]).map(({ keptBecause }) => keptBecause)).toEqual([
      ['not pruned yet'],
      ['not pruned yet'],
      ['last 2'],
      ['newest', 'last 2'],
    ])
  })

  it('comes back, of any time, and nothing stays behind', async () => {
    mkdirSync(temporary('tmp'))
    const env = { TMPDIR: temporary('tmp') }
    const { status, stdout } = await run(['restore', place(), 'main', '-o', output()], { env })
    expect({ status, text: stdout.toString() }).toEqual({
      status: 0,
      text: expect.stringMatching(/✓ .*out: 80 KiB of section 'main' as of .*Z \(frame 4\)/),
    })
    expect(readFileSync(output())).toEqual(memory)
    const second = await run(['restore', place(), 'main', '--number', '2'], { env })
    expect(second.stdout).toEqual(Buffer.alloc(memory.length, 2))
    expect(readdirSync(temporary('tmp')).filter((name) => name.includes('spool'))).toEqual([])
  })

  it('is checked: exit status 1, and which frames are damaged', async () => {
    expect(await run(['verify', place()])).toMatchObject({ status: 0, stderr: '' })
    const path = objectOf(3)
    const bytes = readFileSync(path)
    bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1
    rmSync(path)
    writeFileSync(path, bytes)
    const { status, json } = await runJson(['verify', place()])
    expect(status).toBe(1)
    expect((json['frames'] as unknown as Json[]).map(({ ok }) => ok)).toEqual([true, true, false, false])
    rmSync(path)
    const missing = await run(['verify', place()])
    expect(missing.status).toBe(1)
    expect(missing.stdout.toString()).toMatch(/2 of 4 frames cannot be restored.*the object is missing/s)
  })

  it('is reported, as far as its manifest tells, or with every byte checked', async () => {
    const { status, json } = await runJson(['report', place(), '-o', output(), '--keep-last', '2'])
    expect(status).toBe(0)
    expect(json).toMatchObject({ kind: 'archive', frames: 4, damaged: [] })
    const page = readFileSync(output(), 'utf8')
    for (const { id } of frames) expect(page).toContain(id)
    expect(page).toContain('its files were not fetched')
    expect(page).toContain('last 2')
    rmSync(objectOf(4))
    const checked = await runJson(['report', place(), '-o', output(), '-f', '--verify'])
    expect(checked.status).toBe(1)
    expect(checked.json['damaged']).toMatchObject([{ number: 4, reason: 'the object is missing' }])
  })

  it('is pruned only by who says that its service may end', async () => {
    const service = await openArchive(directoryStore(temporary('store')), { spool: temporary() })
    const dry = await runJson(['prune', place(), '--keep-last', '1', '--dry-run'])
    expect(dry.status).toBe(0)
    expect([numbersOf(dry.json, 'kept'), numbersOf(dry.json, 'givenUp')]).toEqual([[4], [1, 2, 3]])
    expect(await run(['prune', place(), '--keep-last', '1'])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--take-over'),
    })
    await service.capture({ main: memory }).done
    const { status, json } = await runJson(['prune', place(), '--keep-last', '2', '--take-over'])
    expect(status).toBe(0)
    expect([numbersOf(json, 'kept'), numbersOf(json, 'givenUp')]).toEqual([
      [4, 5],
      [1, 2, 3],
    ])
    await expect(service.capture({ main: memory }).done).rejects.toMatchObject({
      code: 'ERR_STILLFRAME_FENCED',
    })
    await service.close()
    expect(numbersOf((await runJson(['frames', place()])).json, 'frames')).toEqual([4, 5])
    expect((await run(['restore', place(), 'main'])).stdout).toEqual(memory)
  })

  it('is not compacted from here, and has no rules but those that are given', async () => {
    expect(await run(['compact', place()])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('is a store'),
    })
    expect(await run(['prune', place(), '--dry-run'])).toMatchObject({ status: 2 })
    expect(await run(['prune', temporary('x'), '--take-over', '--keep-last', '1'])).toMatchObject({
      status: 2,
    })
  })

  it('is not made where there is none', async () => {
    for (const args of [['frames'], ['verify'], ['prune', '--keep-last', '1', '--take-over']]) {
      const [command = '', ...options] = args
      expect(await run([command, `store:${temporary('none')}`, ...options])).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('There is no archive in the store'),
      })
    }
    expect(readdirSync(temporary())).not.toContain('none')
  })
})

describe('an archive that is sealed', () => {
  it('opens with its key, of any form, and with no other', async () => {
    const sealed = `store:${temporary('sealed')}`
    await fill(directoryStore(temporary('sealed')), { encryption: { key } })
    const files = { raw: key, hex: `${key.toString('hex')}\n`, base64: key.toString('base64') }
    for (const [name, content] of Object.entries(files)) writeFileSync(temporary(name), content)
    writeFileSync(temporary('wrong'), Buffer.alloc(32, 8))
    writeFileSync(temporary('short'), 'secret text')
    for (const name of Object.keys(files)) {
      const { status, json } = await runJson(['frames', sealed, '--key-file', temporary(name)])
      expect({ status, numbers: numbersOf(json, 'frames') }).toEqual({ status: 0, numbers: [1, 2, 3, 4] })
    }
    const keyed = ['--key-file', temporary('hex')]
    expect((await run(['restore', sealed, 'main', ...keyed])).stdout).toEqual(memory)
    expect((await run(['verify', sealed, ...keyed])).status).toBe(0)
    expect((await run(['report', sealed, '-o', output(), ...keyed])).status).toBe(0)
    expect((await run(['prune', sealed, '--keep-last', '1', '--take-over', ...keyed])).status).toBe(0)
    const both = ['--key-file', temporary('wrong'), ...keyed]
    expect(numbersOf((await runJson(['frames', sealed, ...both])).json, 'frames')).toEqual([4])
    for (const options of [[], ['--key-file', temporary('wrong')]])
      expect(await run(['frames', sealed, ...options])).toMatchObject({
        status: 1,
        stderr: expect.stringContaining('ERR_STILLFRAME_KEY'),
      })
    const { status, stderr } = await run(['frames', sealed, '--key-file', temporary('short')])
    expect(status).toBe(1)
    expect(stderr).not.toContain('secret')
    expect(await run(['frames', sealed, '--key-file', temporary('nowhere')])).toMatchObject({ status: 1 })
    expect(await run(['frames', temporary('store'), ...keyed])).toMatchObject({ status: 2 })
  })

  it('opens with keys that have ids of their own', async () => {
    const encryption = { keyProvider: (id = '2026-12') => (id === '2026-12' ? { id, key } : undefined) }
    await fill(directoryStore(temporary('sealed')), { encryption })
    writeFileSync(temporary('key'), key)
    const sealed = `store:${temporary('sealed')}`
    expect((await run(['frames', sealed, '--key-file', temporary('key')])).status).toBe(1)
    expect((await run(['frames', sealed, '--key-file', `2026-12=${temporary('key')}`])).status).toBe(0)
  })
})

describe('a bucket', () => {
  it('is reached as the environment says', async (context) => {
    const server = await needsS3Server(context)
    const client = clientOf(server)
    const bucket = await newBucket(client)
    await fill(s3({ client, bucket, prefix: 'orders/1' }))
    client.destroy()
    const env = {
      AWS_ENDPOINT_URL: server.endpoint,
      AWS_ACCESS_KEY_ID: server.accessKeyId,
      AWS_SECRET_ACCESS_KEY: server.secretAccessKey,
      NODE_NO_WARNINGS: '1',
    }
    const at = `s3://${bucket}/orders/1`
    const { status, json } = await runJson(['frames', at], { env })
    expect({ status, numbers: numbersOf(json, 'frames') }).toEqual({ status: 0, numbers: [1, 2, 3, 4] })
    expect((await run(['restore', `${at}/`, 'main'], { env })).stdout).toEqual(memory)
    expect((await run(['verify', at], { env })).status).toBe(0)
    const pruned = await runJson(['prune', at, '--keep-last', '1', '--take-over'], { env })
    expect(numbersOf(pruned.json, 'kept')).toEqual([4])
    expect(await run(['frames', `s3://${bucket}/other`], { env })).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('There is no archive'),
    })
    expect(await run(['frames', at], { env: { ...env, AWS_SECRET_ACCESS_KEY: 'wrong' } })).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('ERR_STILLFRAME_IO'),
    })
  })

  it('that is none, or has no name that can be, is a wrong command line', async () => {
    for (const name of ['s3://', 's3:bucket', 's3://b', 's3://bucket/a//b', 'store:'])
      expect(await run(['frames', name], { env: { NODE_NO_WARNINGS: '1' } })).toMatchObject({ status: 2 })
  })
})
