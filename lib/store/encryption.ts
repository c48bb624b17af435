/** The keys for sealing objects: their source, and the ids that tell them apart. */

import { createHmac, createSecretKey, KeyObject } from 'node:crypto'
import type { MessagePort } from 'node:worker_threads'
import { invalidArgType, invalidArgValue, messageOf, StillframeError } from '../base/errors.js'
import { checkOptions } from '../base/validate.js'

/** An AES-256 key, with the id by which it is found again. */
export interface EncryptionKey {
  /**
   * 1 to 32 letters, digits, `.`, `_` and `-`. Not secret: every object sealed with the key
   * contains it.
   */
  readonly id: string
  /** 32 bytes. */
  readonly key: Uint8Array | KeyObject
}

/**
 * Returns a key by its id, or for `undefined` the key to seal new objects with. To rotate keys,
 * start to return another key for `undefined`, and keep the older keys as long as there are objects
 * sealed with them.
 *
 * @returns undefined if there is no key with this id.
 */
export type KeyProvider = (
  id: string | undefined,
) => EncryptionKey | undefined | Promise<EncryptionKey | undefined>

/** Exactly one of the two options is required. */
export interface EncryptionOptions {
  /** One key of 32 bytes for all objects. Its id is derived from it. */
  readonly key?: Uint8Array | KeyObject | undefined
  readonly keyProvider?: KeyProvider | undefined
}

/** @internal */
export interface CheckedKey {
  readonly id: string
  readonly secret: KeyObject
}

const keyBytes = 32

/** @internal @throws TypeError, RangeError. */
export function checkEncryption(value: unknown, name = 'options.encryption'): Keys {
  const { key, keyProvider } = checkOptions(value, ['key', 'keyProvider'], name)
  if ((key === undefined) === (keyProvider === undefined)) {
    throw invalidArgValue(`${name} must have either key or keyProvider`)
  }
  if (key !== undefined) {
    const secret = toSecret(key, `${name}.key`)
    const known = { id: idOf(secret), secret }
    return new Keys((id) => (id === undefined || id === known.id ? known : undefined))
  }
  if (typeof keyProvider !== 'function')
    throw invalidArgType(`${name}.keyProvider`, 'a function', keyProvider)
  return new Keys(async (id) => await checkedAnswer(keyProvider as KeyProvider, id))
}

/** @internal @throws TypeError. */
export function toSecret(key: unknown, name: string): KeyObject {
  const secret = key instanceof Uint8Array ? createSecretKey(key) : key
  if (!(secret instanceof KeyObject) || secret.type !== 'secret') {
    throw invalidArgType(name, `a Uint8Array of ${keyBytes} bytes or a secret KeyObject`, key)
  }
  if (secret.symmetricKeySize !== keyBytes) {
    throw invalidArgValue(
      `${name} must have ${keyBytes} bytes, as AES-256 requires, not ${secret.symmetricKeySize}`,
    )
  }
  return secret
}

/**
 * @internal Derives the id of a key that was given without one. The id reveals nothing about the
 *   key.
 */
export function idOf(secret: KeyObject): string {
  return createHmac('sha256', secret).update('stillframe key id').digest('hex').slice(0, 16)
}

async function checkedAnswer(provider: KeyProvider, id: string | undefined): Promise<CheckedKey | undefined> {
  const asked = id === undefined ? 'the key to seal with' : `key '${id}'`
  let answer: unknown
  try {
    answer = await provider(id)
  } catch (error) {
    throw new StillframeError(
      'ERR_STILLFRAME_CALLBACK',
      `keyProvider threw for ${asked}: ${messageOf(error)}`,
      {
        cause: error,
      },
    )
  }
  if (answer === undefined) return undefined
  const { id: found, key } = checkOptions(answer, ['id', 'key'], 'the answer of keyProvider')
  if (typeof found !== 'string' || !isKeyId(found)) {
    throw invalidArgValue(`keyProvider must return an id of 1 to 32 letters, digits, '.', '_' and '-'`)
  }
  if (id !== undefined && found !== id) {
    throw invalidArgValue(`keyProvider was asked for ${asked}, and must not return '${found}'`)
  }
  return { id: found, secret: toSecret(key, 'the key of keyProvider') }
}

/** @internal */
export function isKeyId(value: string): boolean {
  return /^[A-Za-z0-9._-]{1,32}$/.test(value)
}

/** @internal The keys of one store. */
export class Keys {
  readonly #find: (id: string | undefined) => CheckedKey | undefined | Promise<CheckedKey | undefined>

  constructor(find: (id: string | undefined) => CheckedKey | undefined | Promise<CheckedKey | undefined>) {
    this.#find = find
  }

  /** Returns the key to seal with. @throws StillframeError `ERR_STILLFRAME_KEY`. */
  async current(): Promise<CheckedKey> {
    const key = await this.#find(undefined)
    if (key !== undefined) return key
    throw new StillframeError(
      'ERR_STILLFRAME_KEY',
      'keyProvider has no key to seal with: asked for undefined, it must return one',
    )
  }

  /**
   * @param what - names the sealed object in the error. @throws StillframeError
   *   `ERR_STILLFRAME_KEY`.
   */
  async byId(id: string, what: string): Promise<CheckedKey> {
    const key = await this.#find(id)
    if (key !== undefined) return key
    throw new StillframeError(
      'ERR_STILLFRAME_KEY',
      `${what} is sealed with key '${id}', which is not the one that was given. Pass that key, or a keyProvider that has it`,
    )
  }
}

interface KeyAnswer {
  readonly id: string
  readonly key?: CheckedKey | undefined
  readonly error?: string
}

/**
 * @internal Answers the requests of {@link keysFrom} in another thread. The port does not keep the
 *   process alive.
 */
export function answerWithKeys(port: MessagePort, keys: Keys): void {
  port.on('message', (id: string) => {
    keys.byId(id, 'An object').then(
      (key) => port.postMessage({ id, key } satisfies KeyAnswer),
      (error: unknown) => port.postMessage({ id, error: messageOf(error) } satisfies KeyAnswer),
    )
  })
  port.unref()
}

/** @internal Provides the keys of another thread; each is requested once. */
export function keysFrom(port: MessagePort): Keys {
  const asked = new Map<string, PromiseWithResolvers>()
  port.on('message', ({ id, key, error }: KeyAnswer) => {
    if (key !== undefined) asked.get(id)?.resolve(key)
    else asked.get(id)?.reject(new StillframeError('ERR_STILLFRAME_KEY', error ?? ''))
  })
  port.unref()
  return new Keys((id) => {
    if (id === undefined) return undefined
    let waiting = asked.get(id)
    if (waiting === undefined) {
      waiting = withResolvers()
      asked.set(id, waiting)
      port.postMessage(id)
    }
    return waiting.promise
  })
}

interface PromiseWithResolvers {
  readonly promise: Promise<CheckedKey>
  resolve(key: CheckedKey): void
  reject(error: Error): void
}

function withResolvers(): PromiseWithResolvers {
  let resolve = (_key: CheckedKey): void => {}
  let reject = (_error: Error): void => {}
  const promise = new Promise<CheckedKey>((fulfil, refuse) => {
    resolve = fulfil
    reject = refuse
  })
  return { promise, resolve, reject }
}
