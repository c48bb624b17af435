/**
 * Opens the same bucket on another thread, with a client that behaves like the service's, except
 * for middleware and request handlers, which cannot be transferred.
 */

import { Agent as HttpAgent } from 'node:http'
import { Agent as HttpsAgent } from 'node:https'
import { setTimeout } from 'node:timers/promises'
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { S3Client, type S3ClientConfig, type S3ClientResolvedConfig } from '@aws-sdk/client-s3'
import type { StoreRecipe } from '../store/recipe.js'
import type { ObjectStore } from '../store/store.js'
import { rememberingLookup } from './remembering-lookup.js'
import { s3 } from './s3.js'

/** Settings of a client that are values, or functions that return values. */
const settings = [
  'region',
  'forcePathStyle',
  'useAccelerateEndpoint',
  'useDualstackEndpoint',
  'useFipsEndpoint',
  'useArnRegion',
  'disableMultiregionAccessPoints',
  'followRegionRedirects',
  'maxAttempts',
  'retryMode',
  'requestChecksumCalculation',
  'responseChecksumValidation',
] as const satisfies readonly (keyof S3ClientConfig)[]

type Credentials = Awaited<ReturnType<S3ClientResolvedConfig['credentials']>>

interface Data {
  readonly bucket: string
  readonly prefix: string
  readonly config: Partial<Record<(typeof settings)[number] | 'endpoint', unknown>>
  readonly credentials: Credentials
  /** Port for requesting newer credentials. */
  readonly port: MessagePort
}

/** Creates the input of {@link openStore}. */
export async function recipeOf(client: S3Client, bucket: string, prefix: string): Promise<StoreRecipe> {
  const from = client.config as S3ClientResolvedConfig
  const config: Record<string, unknown> = {}
  for (const name of settings) config[name] = await settled(from[name as keyof S3ClientResolvedConfig])
  // Set only if it is not derived from the region.
  const endpoint = (await settled(from.endpoint)) as Record<string, unknown> | undefined
  if (endpoint !== undefined) config['endpoint'] = urlOf(endpoint)
  const { port1, port2 } = new MessageChannel()
  port1.on('message', () => {
    from.credentials().then(
      (newer) => port1.postMessage(newer),
      () => port1.postMessage(undefined),
    )
  })
  port1.unref()
  const data: Data = { bucket, prefix, config, credentials: await from.credentials(), port: port2 }
  return { module: import.meta.url, data, transfer: [port2] }
}

async function settled(setting: unknown): Promise<unknown> {
  return typeof setting === 'function' ? await setting() : setting
}

function urlOf({ protocol, hostname, port, path }: Record<string, unknown>): string {
  return `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}${path ?? ''}`
}

/** Opens the store described by `recipe()`. */
export function openStore({ bucket, prefix, config, credentials, port }: Data): ObjectStore {
  const options = { keepAlive: true, maxSockets: 50, lookup: rememberingLookup() }
  const client = new S3Client({
    ...(config as S3ClientConfig),
    credentials: newestCredentials(credentials, port),
    requestHandler: { httpAgent: new HttpAgent(options), httpsAgent: new HttpsAgent(options) },
  })
  return s3({ client, bucket, prefix })
}

/**
 * Time limit for an answer. The thread with newer credentials may be waiting for a page; in that
 * case the latest known ones are used.
 */
const longestWaitMs = 10_000

function newestCredentials(first: Credentials, port: MessagePort): () => Promise<Credentials> {
  let newest = first
  let isFirst = true
  let told = (): void => {}
  port.on('message', (newer: Credentials | undefined) => {
    if (newer !== undefined) newest = newer
    told()
  })
  port.unref()
  return async () => {
    if (!isFirst) {
      const answered = new Promise<void>((resolve) => {
        told = resolve
      })
      port.postMessage('newer')
      await Promise.race([answered, setTimeout(longestWaitMs, undefined, { ref: false })])
    }
    isFirst = false
    return newest
  }
}
