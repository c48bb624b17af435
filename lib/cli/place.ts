/**
 * The place of an archive as named on the command line: a directory, a bucket, or a directory that
 * is an object store.
 */

import { Buffer } from 'node:buffer'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import process from 'node:process'
import { pathToFileURL } from 'node:url'
import {
  directoryStore,
  type EncryptionKey,
  type EncryptionOptions,
  type ObjectStore,
} from '../archive/index.js'
import { messageOf } from '../base/errors.js'
import { printable } from '../base/printable.js'
import { idOf, isKeyId, toSecret } from '../store/encryption.js'
import { type Arguments, CommandError, type OptionSpec, UsageError } from './command.js'

/** The place of an archive. */
export interface Place {
  /** The name that the user gave. */
  readonly name: string
  readonly at: string | ObjectStore
  readonly encryption: EncryptionOptions | undefined
}

/** Options shared by all commands that take the place of an archive. */
export const placeOptions: Readonly<Record<string, OptionSpec>> = {
  'key-file': {
    type: 'string',
    placeholder: '[ID=]FILE',
    multiple: true,
    help: 'key of an encrypted store: 32 bytes, raw or in hex or base64; repeatable',
  },
}

/** Paragraph for the help texts. */
export const aboutPlaces = `
PLACE is the directory of an archive; s3://BUCKET/PREFIX, which uses the @aws-sdk/client-s3 of the current
directory and its usual environment (AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL, …); or store:PATH, for a
directoryStore().`

/** True if the place is an object store. */
export function isStore(place: string): boolean {
  return /^(s3|store):/.test(place)
}

/** @throws UsageError, CommandError. */
export async function placeOf(name: string, args: Arguments): Promise<Place> {
  const keyFiles = args.values('key-file')
  if (!isStore(name)) {
    if (keyFiles.length > 0) throw new UsageError('--key-file is for archives in stores', placeHint)
    return { name, at: name, encryption: undefined }
  }
  const encryption = keyFiles.length === 0 ? undefined : await readKeys(keyFiles)
  const at = name.startsWith('s3:') ? await bucketAt(name) : directoryStoreAt(name)
  return { name, at, encryption }
}

const placeHint = "Write a store as 's3://BUCKET/PREFIX' or 'store:PATH'."

function directoryStoreAt(name: string): ObjectStore {
  const path = name.slice('store:'.length)
  if (path === '') throw new UsageError(`'${name}' does not name a directory`, placeHint)
  return directoryStore(path)
}

async function bucketAt(name: string): Promise<ObjectStore> {
  const [, bucket, prefix = ''] = /^s3:\/\/([A-Za-z0-9][A-Za-z0-9._-]{1,62})(?:\/(.*))?$/.exec(name) ?? []
  if (bucket === undefined) throw new UsageError(`'${name}' does not name a bucket`, placeHint)
  const { S3Client } = await loadSdk()
  const { s3 } = await import('../s3/index.js').catch(explainMissing)
  const { AWS_REGION, AWS_DEFAULT_REGION, AWS_ENDPOINT_URL, AWS_ENDPOINT_URL_S3 } = process.env
  const endpoint = AWS_ENDPOINT_URL_S3 || AWS_ENDPOINT_URL
  // A self-hosted server has no regions, but the client requires one.
  const region = AWS_REGION || AWS_DEFAULT_REGION || (endpoint && 'us-east-1')
  const client = new S3Client({
    // Self-hosted servers often support neither the checksums of newer clients nor bucket names as
    // host names.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    ...(endpoint && { forcePathStyle: true }),
    ...(region && { region }),
  })
  try {
    return s3({ client, bucket, prefix })
  } catch (error) {
    throw new UsageError(`'${name}': ${messageOf(error)}`, placeHint)
  }
}

type Sdk = typeof import('@aws-sdk/client-s3')

/** Loads the SDK of the project in the current directory, or else the one next to this package. */
async function loadSdk(): Promise<Sdk> {
  const name = '@aws-sdk/client-s3'
  let url: string
  try {
    url = pathToFileURL(createRequire(join(process.cwd(), 'package.json')).resolve(name)).href
  } catch {
    url = name
  }
  return (await import(url).catch(explainMissing)) as Sdk
}

function explainMissing(error: unknown): never {
  if ((error as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw error
  throw new CommandError(
    "s3:// needs @aws-sdk/client-s3, which is not installed here: run 'npm install stillframe " +
      "@aws-sdk/client-s3', and call 'npx stillframe' in the same directory",
  )
}

/** The first key is used to encrypt new data. */
async function readKeys(files: readonly string[]): Promise<EncryptionOptions> {
  const keys: EncryptionKey[] = []
  for (const text of files) {
    const [, given, path = text] = /^([A-Za-z0-9._-]+)=(.+)$/.exec(text) ?? []
    if (given !== undefined && !isKeyId(given)) throw new UsageError(`'${given}' is not the id of a key`)
    const key = await readKey(path)
    keys.push({ id: given ?? idOf(toSecret(key, '--key-file')), key })
  }
  return { keyProvider: (id) => (id === undefined ? keys[0] : keys.find((key) => key.id === id)) }
}

async function readKey(path: string): Promise<Uint8Array> {
  const content = await readFile(path).catch((error: Error) => {
    throw new CommandError(`--key-file: ${printable(path)} cannot be read: ${printable(error.message)}`)
  })
  if (content.length === 32) return content
  const text = content.toString('latin1').trim()
  if (/^[0-9a-fA-F]{64}$/.test(text)) return Buffer.from(text, 'hex')
  if (/^[A-Za-z0-9+/]{43}=?$/.test(text)) return Buffer.from(text, 'base64')
  // The content is not shown: it may be a key after all.
  throw new CommandError(
    `--key-file: ${printable(path)} must contain 32 bytes, 64 hexadecimal digits or 44 base64 characters`,
  )
}
