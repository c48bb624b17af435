/**
 * Making a full file of a frame and all that it builds on, in its place. It is the same frame as before: those that build
 * on it go on doing so, and what it was made of may go as soon as nothing else needs it.
 *
 * It reads and writes files, in pieces, at the lowest priority; the memory of the service has no part in it. Frames that
 * are taken meanwhile do not matter, so it always comes to an end.
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
  /** Runs a step while no other one changes the archive. */
  readonly inTurn: <Value>(step: () => Promise<Value>) => Promise<Value>
}

/** @returns the frame; undefined if it was given up meanwhile. */
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
  // Before the manifest says that nothing else is needed.
  await syncDirectory(directory)
  const manifest = asCompacted(entry.manifest, { fileSize, allocatedBytes: blocks * 512 })
  await replaceFile(pathOf(directory, number, 'manifest'), encodeManifest(manifest))
  await syncDirectory(directory)
  const compacted = { number, manifest }
  table.put(compacted)
  return compacted
}
