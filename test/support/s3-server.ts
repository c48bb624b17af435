/**
 * A real S3 server (`scripts/s3-server.sh`), shared by the whole run of the suite. The first test
 * that needs it starts it; it stops with the suite.
 */

import { execFile } from 'node:child_process'
import { randomUUID } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { CreateBucketCommand, S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'
import type { TestContext } from 'vitest'
import { needsTools } from './needs.js'
import { s3ServerDirectory } from './suite-directory.js'

const script = fileURLToPath(new URL('../../scripts/s3-server.sh', import.meta.url))

/** Connection parameters of the server. */
export interface S3Server {
  readonly endpoint: string
  readonly region: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
}

/** Programs that the script needs. */
export const s3Tools = [
  'radosgw',
  'radosgw-admin',
  'ceph',
  'ceph-mon',
  'ceph-osd',
  'monmaptool',
  'flock',
] as const

let running: Promise<S3Server> | undefined

/** Starts the server if needed; skips the test, with the reason, if Ceph is not installed. */
export async function needsS3Server(context: TestContext): Promise<S3Server> {
  needsTools(context, ...s3Tools)
  running ??= start()
  return await running
}

async function start(): Promise<S3Server> {
  const { stdout } = await promisify(execFile)(script, ['start', s3ServerDirectory()])
  return JSON.parse(stdout) as S3Server
}

/** A client configured as a service would configure one for a server other than Amazon's. */
export function clientOf(server: S3Server, config: S3ClientConfig = {}): S3Client {
  const { endpoint, region, accessKeyId, secretAccessKey } = server
  return new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...config,
  })
}

/** Makes a bucket with a unique name. */
export async function newBucket(client: S3Client): Promise<string> {
  const Bucket = `test-${randomUUID()}`
  await client.send(new CreateBucketCommand({ Bucket }))
  return Bucket
}
