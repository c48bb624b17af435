/** Identifiers of snapshots: UUIDs, 16 bytes in the file, text everywhere else. */

import { Buffer } from 'node:buffer'
import { randomUUID } from 'node:crypto'

/** A new random identifier (version 4). */
export function newId(): string {
  return randomUUID()
}

/** The 16 bytes of a UUID in its usual form. */
export function idToBytes(id: string): Uint8Array {
  return Uint8Array.from(Buffer.from(id.replaceAll('-', ''), 'hex'))
}

/** The usual form (8-4-4-4-12, lower case) of 16 bytes. */
export function idFromBytes(bytes: Uint8Array): string {
  const hex = Buffer.from(bytes).toString('hex')
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}
