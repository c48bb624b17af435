/**
 * Reads the directory of an archive. This needs no lock, because manifests appear and change
 * atomically.
 */

import { readdir, readFile } from 'node:fs/promises'
import { messageOf, StillframeError } from '../base/errors.js'
import { fromFile } from '../files/durable-file.js'
import { inspect } from '../restore/inspect.js'
import { type Entry, FrameTable } from './frame-table.js'
import { decodeManifest, type Manifest } from './manifest.js'
import { isNativeTemporary, parseName, pathOf } from './names.js'

/** Frame files in a directory. */
export interface Listing {
  readonly manifests: readonly number[]
  readonly memories: ReadonlySet<number>
  readonly states: ReadonlySet<number>
  /** The highest frame number in any name; 0 if there is none. */
  readonly highest: number
  /** Names of unfinished files that a dead writer has left. */
  readonly temporaries: readonly string[]
}

/** @throws StillframeError `ERR_STILLFRAME_NOT_FOUND` if there is no such directory. */
export async function listDirectory(directory: string): Promise<Listing> {
  const names = await readdir(directory).catch((error: unknown) => {
    throw notThere(error, directory)
  })
  const numbers = { memory: new Set<number>(), state: new Set<number>(), manifest: new Set<number>() }
  const temporaries: string[] = []
  let highest = 0
  for (const name of names) {
    const parsed = parseName(name)
    if (parsed === undefined) {
      if (isNativeTemporary(name)) temporaries.push(name)
      continue
    }
    highest = Math.max(highest, parsed.number)
    if (parsed.temporary) temporaries.push(name)
    else numbers[parsed.part].add(parsed.number)
  }
  const manifests = [...numbers.manifest].sort((a, b) => a - b)
  return { manifests, memories: numbers.memory, states: numbers.state, highest, temporaries }
}

function notThere(error: unknown, directory: string): unknown {
  if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return fromFile(error, directory)
  return new StillframeError(
    'ERR_STILLFRAME_NOT_FOUND',
    `${directory}: there is no such directory. Check the path, or let a writer create it`,
    { path: directory, cause: error },
  )
}

/** Number of files that are read in parallel. */
const atOnce = 16

/**
 * Reads the manifests. A manifest that disappears meanwhile is left out, since its frame was
 * pruned.
 */
export async function readFrames(directory: string, numbers: readonly number[]): Promise<FrameTable> {
  const entries: Entry[] = []
  const left = [...numbers]
  const work = async (): Promise<void> => {
    for (let number = left.pop(); number !== undefined; number = left.pop()) {
      const entry = await readEntry(directory, number)
      if (entry !== undefined) entries.push(entry)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, work))
  return new FrameTable(entries)
}

/** Reads all frames that are in the directory now. */
export async function readTable(directory: string): Promise<FrameTable> {
  return await readFrames(directory, (await listDirectory(directory)).manifests)
}

async function readEntry(directory: string, number: number): Promise<Entry | undefined> {
  const path = pathOf(directory, number, 'manifest')
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    return await withoutManifest(directory, number, `the manifest cannot be read: ${messageOf(error)}`)
  }
  try {
    return { number, manifest: decodeManifest(text, number) }
  } catch (error) {
    return await withoutManifest(directory, number, `the manifest is damaged: ${messageOf(error)}`)
  }
}

/** Falls back on what the memory file says about itself. */
async function withoutManifest(directory: string, number: number, damage: string): Promise<Entry> {
  const path = pathOf(directory, number, 'memory')
  const info = await inspect(path).catch(() => undefined)
  if (info === undefined) return { number, manifest: undefined, damage }
  const { id, parentId, frozenAt, byteLength, fileSize, allocatedBytes, sections } = info
  const manifest: Manifest = {
    number,
    id,
    ...(parentId !== undefined && { parentId }),
    frozenAtMs: frozenAt.getTime(),
    byteLength,
    changedBytes: 0,
    scannedBytes: 0,
    fileSize,
    allocatedBytes,
    engine: 'none',
    faultHandling: 'kernel',
    pauseMs: 0,
    durationMs: 0,
    copiedBytesPeak: 0,
    sections: sections.map(({ name, byteLength }) => ({ name, byteLength })),
  }
  return { number, manifest, damage }
}
