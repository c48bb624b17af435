/** Reads the first fields of a snapshot file, for files that cannot be opened normally. */

import { Buffer } from 'node:buffer'
import { open } from 'node:fs/promises'
import { idFromBytes } from '../base/snapshot-id.js'

/** See FileHeader in docs/FORMAT.md. */
const magic = Buffer.from('89534652414d0d0a', 'hex')
const headerBytes = 96

/** The fields of the header. */
export interface FileHeader {
  id: string
  /** Absent in a full file. */
  parentId?: string
  frozenAt: Date
}

/**
 * Reads the header without checking it. This is good enough to order files and to describe damaged
 * ones, but never to read memory. Returns undefined if the file is not a snapshot.
 *
 * @throws the errors of node:fs.
 */
export async function readHeader(path: string): Promise<FileHeader | undefined> {
  await using file = await open(path)
  const { buffer, bytesRead } = await file.read(Buffer.alloc(headerBytes), 0, headerBytes, 0)
  if (bytesRead < headerBytes || !buffer.subarray(0, magic.length).equals(magic)) return undefined
  const parentId = buffer.subarray(32, 48)
  const frozenAt = new Date(Number(buffer.readBigInt64LE(64) / 1_000_000n))
  return {
    id: idFromBytes(buffer.subarray(16, 32)),
    ...(parentId.some((byte) => byte !== 0) && { parentId: idFromBytes(parentId) }),
    // A value outside Date's range did not come from a clock.
    frozenAt: Number.isNaN(frozenAt.getTime()) ? new Date(0) : frozenAt,
  }
}
