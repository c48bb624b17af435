/**
 * Promise: a real server of S3 that crashes while frames are copied to it, or is away for a while, loses none that was told to be
 * there, and gets the others when it is back; another machine has all of them, sealed on the way (I17, I18).
 *
 * Proved with Ceph's gateway on loopback, which is killed, over the official SDK.
 */

import { execFile } from 'node:child_process'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { openArchive } from 'stillframe/archive'
import { s3 } from 'stillframe/s3'
import { expect, onTestFinished, test } from 'vitest'
import { needsTools } from '../support/needs.js'
import { waitUntil } from '../support/processes.mjs'
import { clientOf, newBucket, type S3Server, s3Tools } from '../support/s3-server.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { History, listOf, numbersOf } from './history.js'

const inDirectory = useTemporaryDirectory()
const script = fileURLToPath(new URL('../../scripts/s3-server.sh', import.meta.url))

/** One of its own, since others are not to notice that it is killed. */
async function server(action: string, ...names: string[]): Promise<string> {
  return (await promisify(execFile)(script, [action, inDirectory('server'), ...names])).stdout
}

test('frames reach a server that is killed now and then, and come back on another machine', async (context) => {
  needsTools(context, ...s3Tools)
  try {
    await tryServer()
  } finally {
    await server('kill')
  }
}, 600_000)

async function tryServer(): Promise<void> {
  const client = clientOf(JSON.parse(await server('start')) as S3Server)
  const store = s3({ client, bucket: await newBucket(client), prefix: 'orders' })
  const encryption = { key: Buffer.alloc(32, 9) }
  const history = new History(8 * 2 ** 20)
  const archive = await openArchive(inDirectory('archive'), { store, encryption })
  for (let frame = 0; frame < 2; frame++) await history.take(archive)
  await archive.copied()

  // Away for a while: captures do not notice.
  await server('kill', 'gateway')
  for (let frame = 0; frame < 2; frame++) await history.take(archive)
  expect((await listOf(archive)).length).toBe(4)
  await server('start')
  await archive.copied()

  // In the middle of an upload.
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
  client.destroy()
}
