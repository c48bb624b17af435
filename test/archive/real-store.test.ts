/**
 * Promise: if a real S3 server crashes while frames are copied to it, or is unavailable for a
 * while, it loses no frame that was reported to be there, and gets the others when it is back;
 * another machine can restore all of them, sealed in transit (I17, I18).
 *
 * Proved with Ceph's gateway on loopback, through the official SDK: the gateway and everything
 * behind it are killed at chosen and at random moments of uploads and restores.
 */

import { execFile } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { S3Client } from '@aws-sdk/client-s3'
import { openArchive } from 'stillframe/archive'
import { s3 } from 'stillframe/s3'
import { expect, onTestFinished, test } from 'vitest'
import { longMode } from '../support/long-mode.mjs'
import { needsTools } from '../support/needs.js'
import { waitUntil } from '../support/processes.mjs'
import { Random, testSeed } from '../support/random.mjs'
import { clientOf, newBucket, type S3Server, s3Tools } from '../support/s3-server.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const script = fileURLToPath(new URL('../../scripts/s3-server.sh', import.meta.url))

/** Controls a server of this test's own, since no other test may notice that it is killed. */
async function server(action: string, ...names: string[]): Promise<string> {
  return (await promisify(execFile)(script, [action, inDirectory('server'), ...names])).stdout
}

const random = new Random(testSeed)
const kills = longMode ? 20 : 3

test(`frames reach a server that is killed now and then, and come back on another machine (seed ${testSeed})`, async (context) => {
  needsTools(context, ...s3Tools)
  try {
    const client = clientOf(JSON.parse(await server('start')) as S3Server)
    await killWhileCopying(client)
    await killAtRandom(client)
    client.destroy()
  } finally {
    await server('kill')
  }
}, 1_200_000)

async function killWhileCopying(client: S3Client): Promise<void> {
  const store = s3({ client, bucket: await newBucket(client), prefix: 'orders' })
  const encryption = { key: Buffer.alloc(32, 9) }
  const history = new History(8 * 2 ** 20)
  const archive = await openArchive(inDirectory('archive'), { store, encryption })
  for (let frame = 0; frame < 2; frame++) await history.take(archive)
  await archive.copied()

  // The server is unavailable for a while, which captures do not notice.
  await server('kill', 'gateway')
  for (let frame = 0; frame < 2; frame++) await history.take(archive)
  expect((await listOf(archive)).length).toBe(4)
  await server('start')
  await archive.copied()

  // The server is killed in the middle of an upload.
  let uploading = false
  const note = (): void => {
    uploading = true
  }
  subscribe('tracing:stillframe.upload:start', note)
  onTestFinished(() => void unsubscribe('tracing:stillframe.upload:start', note))
  await history.take(archive, { full: true })
  await waitUntil(() => uploading, 'an upload has begun')
  await server('kill', 'gateway')
  await server('start')
  await archive.copied()
  await archive.close()

  const far = await openArchive(store, { readOnly: true, encryption })
  expect(await numbersOf(far)).toEqual([1, 2, 3, 4, 5])
  expect(await history.wrongOf(far, await listOf(far))).toEqual([])
  await far.close()
}

/** Kills at this moment, without the delay of a script. */
function killNow(...names: string[]): void {
  for (const name of names)
    process.kill(Number(readFileSync(join(inDirectory('server'), `${name}.pid`), 'utf8')), 'SIGKILL')
}

/**
 * Kills the server, or its gateway alone, during the first or second request of this kind or
 * shortly after; restarts it after a while.
 *
 * @returns resolves when the server is back.
 */
async function killAt(client: S3Client, command: string, key: RegExp): Promise<void> {
  let left = random.below(2)
  const name = `kill at ${command}`
  await new Promise<void>((resolve) => {
    client.middlewareStack.add(
      (next, { commandName }) =>
        (args) => {
          const { Key } = args.input as { Key?: string }
          if (commandName === `${command}Command` && key.test(Key ?? '') && left-- === 0) resolve()
          return next(args)
        },
      { step: 'initialize', name },
    )
  })
  client.middlewareStack.remove(name)
  await sleep(random.below(30))
  killNow(...(random.below(3) === 0 ? ['gateway', 'osd', 'monitor'] : ['gateway']))
  await sleep(random.below(1_500))
  await server('start')
}

async function killAtRandom(client: S3Client): Promise<void> {
  const bucket = await newBucket(client)
  // Both archives run at once, since each kill hits them both.
  const stores = [s3({ client, bucket, prefix: 'copied' }), s3({ client, bucket, prefix: 'alone' })] as const
  const histories = [new History(20 * 2 ** 20), new History(20 * 2 ** 20)] as const
  const copied = await openArchive(inDirectory('copied'), { store: stores[0] })
  const alone = await openArchive(stores[1], { spool: inDirectory() })
  const told: string[] = []
  for (let kill = 0; kill < kills; kill++) {
    const command = ['UploadPart', 'CompleteMultipartUpload', 'PutObject'][kill % 3] as string
    const back = killAt(client, command, command === 'PutObject' ? /manifest/ : /data/)
    for (let frame = 0; frame < 2; frame++) await histories[0].take(copied, { full: true })
    // A capture to a store alone may fail with the store; then the frame does not exist.
    const outcome = await histories[1].take(alone, { full: true }).catch((error: unknown) => error)
    if (typeof outcome === 'string') told.push(outcome)
    else expect(outcome).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
    await copied.copied()
    await back
  }
  await copied.close()
  await alone.close()

  const far = [
    await openArchive(stores[0], { readOnly: true }),
    await openArchive(stores[1], { readOnly: true }),
  ] as const
  const lists = [await listOf(far[0]), await listOf(far[1])] as const
  expect(lists[0].length).toBe(2 * kills)
  expect(lists[1].map(({ id }) => id)).toEqual(expect.arrayContaining(told))
  // The server is killed while frames of the first archive are restored.
  for (let kill = 0; kill < kills; kill++) {
    const back = killAt(client, 'GetObject', /data/)
    const frame = lists[0][kill] as (typeof lists)[0][number]
    const wrong = await histories[0].wrongOf(far[0], [frame]).catch(async (error: unknown) => {
      expect(error).toMatchObject({ code: 'ERR_STILLFRAME_IO' })
      await back
      return await histories[0].wrongOf(far[0], [frame])
    })
    expect(wrong).toEqual([])
    await back
  }
  expect(await histories[0].wrongOf(far[0], lists[0].slice(kills))).toEqual([])
  expect(await histories[1].wrongOf(far[1], lists[1])).toEqual([])
  await far[0].close()
  await far[1].close()
}
