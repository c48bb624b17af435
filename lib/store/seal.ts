/**
 * The format of a sealed object: a head, and blocks of 64 KiB that are sealed individually, so that
 * a range can be read without the rest.
 *
 *   head    64 bytes: magic, salt, id of the key
 *   block   up to 64 KiB of ciphertext, 16 bytes of tag; only the last may be shorter, or empty
 *
 * The cipher is AES-256-GCM. Each object has its own key, which HKDF-SHA-256 derives from the given
 * key and the random salt. So the nonces, which count the blocks, never repeat under one key. The
 * nonce of the last block differs from that of a middle block, which reveals a truncated or
 * extended object. Each block authenticates the name and the head of the object: this protects the
 * order of the blocks, and reveals blocks of other objects.
 */

import { Buffer } from 'node:buffer'
import { createCipheriv, createDecipheriv, hkdfSync, type KeyObject, randomBytes } from 'node:crypto'
import { StillframeError } from '../base/errors.js'
import { type CheckedKey, isKeyId } from './encryption.js'

export const headBytes = 64
export const blockBytes = 65_536
export const tagBytes = 16
const sealedBlockBytes = blockBytes + tagBytes
const saltBytes = 16
const magic = Buffer.from('\x89SFSEAL\x01', 'latin1')
const idAt = magic.length + saltBytes

/** The parameters for sealing and opening the blocks of one object. */
export interface ObjectSeal {
  readonly head: Buffer
  readonly key: Buffer
  /** Authenticated with each block. */
  readonly context: Buffer
}

/** Creates the seal of a new object. @param name - under which it is stored. */
export function newSeal({ id, secret }: CheckedKey, name: string): ObjectSeal {
  const head = Buffer.alloc(headBytes)
  magic.copy(head)
  randomBytes(saltBytes).copy(head, magic.length)
  head.write(id, idAt, 'latin1')
  return sealOf(secret, head, name)
}

/** Derives the seal of an existing object. */
export function sealOf(secret: KeyObject, head: Buffer, name: string): ObjectSeal {
  const salt = head.subarray(magic.length, idAt)
  const key = Buffer.from(hkdfSync('sha256', secret, salt, 'stillframe sealed object', 32))
  return { head, key, context: Buffer.concat([head, Buffer.from(name)]) }
}

/** True if an object looks sealed. */
export function isSealed(body: Uint8Array): boolean {
  return magic.equals(body.subarray(0, magic.length))
}

/** Returns the id of the key in a head. @throws StillframeError `ERR_STILLFRAME_CORRUPT`. */
export function keyIdIn(head: Buffer, name: string): string {
  const id = head.subarray(idAt, headBytes).toString('latin1').replace(/\0+$/, '')
  if (head.length !== headBytes || !head.subarray(0, magic.length).equals(magic) || !isKeyId(id)) {
    throw damaged(name, 'it is not sealed, or its header is damaged')
  }
  return id
}

/** Size of a sealed object with this plaintext size, in bytes. */
export function sealedSize(size: number): number {
  return headBytes + size + blockCount(size) * tagBytes
}

/** True if a sealed object can have this size. */
export function isSealedSize(sealed: number): boolean {
  const size = sizeIn(sealed)
  return size >= 0 && sealedSize(size) === sealed
}

/**
 * Plaintext size of a sealed object of this size. @throws StillframeError `ERR_STILLFRAME_CORRUPT`.
 */
export function plainSize(sealed: number, name: string): number {
  if (!isSealedSize(sealed)) throw damaged(name, `it has ${sealed} bytes, which no sealed object can have`)
  return sizeIn(sealed)
}

function sizeIn(sealed: number): number {
  const blocks = Math.ceil((sealed - headBytes) / sealedBlockBytes)
  return sealed - headBytes - blocks * tagBytes
}

/** Number of blocks, at least one. */
export function blockCount(size: number): number {
  return Math.max(1, Math.ceil(size / blockBytes))
}

/** Offset of a block in the sealed object. */
export function blockOffset(index: number): number {
  return headBytes + index * sealedBlockBytes
}

function nonceOf(index: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12)
  nonce.writeBigUInt64LE(BigInt(index), 0)
  nonce.writeUInt32LE(isLast ? 1 : 0, 8)
  return nonce
}

/** @returns ciphertext and tag. */
export function sealBlock(
  { key, context }: ObjectSeal,
  index: number,
  isLast: boolean,
  plain: Uint8Array,
): Buffer[] {
  const cipher = createCipheriv('aes-256-gcm', key, nonceOf(index, isLast))
  cipher.setAAD(context)
  return [cipher.update(plain), cipher.final(), cipher.getAuthTag()]
}

/**
 * @param name - key of the object, for the error. @throws StillframeError `ERR_STILLFRAME_CORRUPT`.
 */
export function openBlock(
  { key, context }: ObjectSeal,
  index: number,
  isLast: boolean,
  sealed: Buffer,
  name: string,
): Buffer {
  const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(index, isLast), { authTagLength: tagBytes })
  const end = sealed.length - tagBytes
  decipher.setAAD(context)
  decipher.setAuthTag(sealed.subarray(end))
  const plain = decipher.update(sealed.subarray(0, end))
  try {
    decipher.final()
  } catch (error) {
    throw damaged(name, `block ${index} is not what was sealed: it was altered, moved or truncated`, error)
  }
  return plain
}

export function damaged(name: string, what: string, cause?: unknown): StillframeError {
  return new StillframeError('ERR_STILLFRAME_CORRUPT', `Object '${name}': ${what}`, { cause })
}
