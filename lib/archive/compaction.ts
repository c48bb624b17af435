/**
 * Compaction: replaces the file of a frame with a full file, made of the frame and its parents. The
 * frame keeps its identity: frames that build on it continue to do so, and its former parents can
 * be removed once nothing else needs them.
 *
 * Compaction reads and writes files in pieces, at the lowest priority. It does not touch the memory
 * of the service. Frames captured meanwhile do not affect it, so it always finishes.
 */

import { rename, stat } from 'node:fs/promises'
import { compact } from '../compact/compact.js'
import { fromFile, removeFile, replaceFile, syncDirectory, temporarySuffix } from '../files/durable-file.js'
import type { FrameTable, KnownEntry } from './frame-table.js'
import { asCompacted, encodeManifest } from './manifest.js'
import { pathOf } from './names.js'

export interface CompactionRequest {
  readonly directory: string
  readonly table: FrameTable
  /** From the frame down to the full one. */
  readonly chain: readonly KnownEntry[]
  readonly signal: AbortSignal
  /** Runs a step while no other step changes the archive. */
  readonly inTurn: <Value>(step: () => Promise<Value>) => Promise<Value>
}

/** @returns the frame; undefined if it was retired meanwhile. */
export async function compactFrame(request: CompactionRequest): Promise<KnownEntry | undefined> {
  const { directory, chain, signal, inTurn } = request
  const { number, manifest } = chain[0] as KnownEntry
  const path = pathOf(directory, number, 'memory')
  const temporary = path + temporarySuffix
  try {
    const { id, fileSize } = await compact(path, temporary, {
      parents: chain.map((entry) => pathOf(directory, entry.number, 'memory')),
      nice: 19,
      signal,
      compression: manifest.compression ?? 'none',
    })
    if (id !== manifest.id) throw new Error(`${path} was compacted to another frame, ${id}`)
    return await inTurn(() => putInPlace(request, temporary, path, fileSize))
  } finally {
    await removeFile(temporary).catch(() => {})
  }
}

async function putInPlace(
  { directory, table, chain, signal }: CompactionRequest,
  temporary: string,
  path: string,
  fileSize: number,
): Promise<KnownEntry | undefined> {
  const { number } = chain[0] as KnownEntry
  const entry = table.get(number)
  if (entry?.manifest === undefined || entry.manifest.retiredAtMs !== undefined) return undefined
  signal.throwIfAborted()
  const { blocks } = await stat(temporary)
  await rename(temporary, path).catch((error: unknown) => {
    throw fromFile(error, path)
  })
  // The full file must be durable before the manifest drops the reference to the parents.
  await syncDirectory(directory)
  const manifest = asCompacted(entry.manifest, { fileSize, allocatedBytes: blocks * 512 })
  await replaceFile(pathOf(directory, number, 'manifest'), encodeManifest(manifest))
  await syncDirectory(directory)
  const compacted = { number, manifest }
  table.put(compacted)
  return compacted
}
