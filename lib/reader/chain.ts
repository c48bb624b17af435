/** Opens a file with all its parents, which are found by the ids in their headers. */

import { Buffer } from 'node:buffer'
import { opendir, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { messageOf } from '../base/errors.js'
import { idFromBytes } from '../base/snapshot-id.js'
import type { NativeReadLimits } from '../image/limits.js'
import { ReadFailure } from './failure.js'
import { headerMagic, headerSize, readHeader } from './format.js'
import { ImageFile, inParentFile, type Tools } from './image-file.js'
import { openImage } from './opening.js'
import { type Opener, openFile } from './source.js'

const longestChain = 1000

/** A file or directory to search, or a source that is not a file. */
export type Place = string | Opener

/**
 * Opens a file and, for a delta, its parents down to the full file.
 *
 * @param places - where to search for parents; if empty, in the directory of each file.
 */
export async function openChain(
  opener: Opener,
  places: readonly Place[],
  limits: NativeReadLimits,
  tools: Tools,
): Promise<ImageFile> {
  const open = (one: Opener): Promise<ImageFile> => openOne(one, limits, tools)
  // Newest first.
  const files: ImageFile[] = []
  try {
    files.push(await open(opener))
    const search = new ParentSearch(await filesFirst(places), open)
    for (let child = files[0] as ImageFile; child.opened.isDelta; ) {
      if (files.length === longestChain) {
        throw new ReadFailure('PARENT', `${opener.name} builds on more than ${longestChain} files`)
      }
      child = await search.find(child)
      files.push(child)
    }
    // Starting with the full file.
    for (let i = files.length - 1; i > 0; i--) {
      const child = files[i - 1] as ImageFile
      try {
        child.buildOn(files[i] as ImageFile)
      } catch (error) {
        if (i === 1 || !(error instanceof ReadFailure)) throw error
        throw inParentFile(child.opened.source.name, error)
      }
    }
    return files[0] as ImageFile
  } catch (error) {
    for (const { opened } of files) await opened.source.close()
    throw error
  }
}

async function openOne(opener: Opener, limits: NativeReadLimits, tools: Tools): Promise<ImageFile> {
  const source = await opener.open()
  try {
    return new ImageFile(await openImage(source, limits, tools.hashes), tools)
  } catch (error) {
    await source.close()
    throw error
  }
}

interface Places {
  readonly files: readonly Place[]
  readonly directories: readonly string[]
}

/**
 * Separates files from directories, so that directories are scanned only if the files do not
 * suffice.
 */
async function filesFirst(places: readonly Place[]): Promise<Places> {
  const files: Place[] = []
  const directories: string[] = []
  for (const place of places) {
    if (typeof place === 'string' && (await isDirectory(place))) directories.push(place)
    else files.push(place)
  }
  return { files, directories }
}

async function isDirectory(path: string): Promise<boolean> {
  return await stat(path).then(
    (about) => about.isDirectory(),
    () => false,
  )
}

/** Finds parents by id. Each place is scanned once. */
class ParentSearch {
  readonly #places: Places
  readonly #open: (opener: Opener) => Promise<ImageFile>
  readonly #known = new Map<Place, Promise<Map<string, Opener[]>>>()

  constructor(places: Places, open: (opener: Opener) => Promise<ImageFile>) {
    this.#places = places
    this.#open = open
  }

  async find(child: ImageFile): Promise<ImageFile> {
    const { source, header } = child.opened
    const { files, directories } = this.#placesFor(source.path)
    const tried: string[] = []
    const inFiles = await this.#findIn(files, child, tried)
    const found = inFiles ?? (await this.#findIn(directories, child, tried))
    if (found !== undefined) return found
    const names = [...files, ...directories].map((place) => (typeof place === 'string' ? place : place.name))
    const where = names.length === 0 ? 'was not given' : `is not in ${names.join(' ')}`
    throw new ReadFailure(
      'PARENT',
      `${source.name} holds only what differs from the snapshot ${idFromBytes(header.parentId)}, which ${where}` +
        `${tried.join('')}. Put it there, or name its place in \`parents\``,
    )
  }

  #placesFor(path: string | undefined): Places {
    if (this.#places.files.length + this.#places.directories.length > 0) return this.#places
    return { files: [], directories: path === undefined ? [] : [dirname(path)] }
  }

  /**
   * Finds the parent in `places`. They may have the same frame twice: as the delta that was taken,
   * and as the full file that its chain was compacted to, which is preferred.
   */
  async #findIn(places: readonly Place[], child: ImageFile, tried: string[]): Promise<ImageFile | undefined> {
    const { parentId, parentState } = child.opened.header
    let found: ImageFile | undefined
    for (const place of places) {
      for (const candidate of (await this.#filesIn(place)).get(parentId.toString('hex')) ?? []) {
        const file = await this.#open(candidate).catch((error: unknown) => {
          tried.push(`; ${candidate.name} has its id, but ${messageOf(error)}`)
        })
        if (file === undefined) continue
        const isIt = file.opened.trailer.state.equals(parentState)
        if (!isIt) {
          tried.push(
            `; ${candidate.name} has its id, but not the memory that it had when this one was written`,
          )
        }
        if (!isIt || (found !== undefined && file.opened.isDelta)) {
          await file.opened.source.close()
          continue
        }
        await found?.opened.source.close()
        found = file
        if (!file.opened.isDelta) return found
      }
    }
    return found
  }

  #filesIn(place: Place): Promise<Map<string, Opener[]>> {
    const known = this.#known.get(place) ?? filesById(place)
    this.#known.set(place, known)
    return known
  }
}

/** Returns everything in this place that looks like a snapshot. */
async function filesById(place: Place): Promise<Map<string, Opener[]>> {
  const byId = new Map<string, Opener[]>()
  for (const opener of await openersIn(place)) {
    const id = await idOf(opener)
    if (id !== undefined) byId.set(id, [...(byId.get(id) ?? []), opener])
  }
  return byId
}

async function openersIn(place: Place): Promise<Opener[]> {
  if (typeof place !== 'string') return [place]
  const directory = await opendir(place).catch(() => undefined)
  if (directory === undefined) return [openerOf(place)]
  const openers: Opener[] = []
  for await (const entry of directory) {
    if (entry.isFile() || entry.isSymbolicLink()) openers.push(openerOf(join(place, entry.name)))
  }
  return openers
}

function openerOf(path: string): Opener {
  return { path, name: path, open: () => openFile(path) }
}

/** Returns the id of a source that looks like a snapshot, and undefined for any other. */
async function idOf(opener: Opener): Promise<string | undefined> {
  const source = await opener.open().catch(() => undefined)
  if (source === undefined) return undefined
  try {
    const header = Buffer.alloc(headerSize)
    if (source.length < headerSize) return undefined
    await source.read(header, 0, '')
    const isSnapshot = header.subarray(0, headerMagic.length).equals(headerMagic)
    return isSnapshot ? readHeader(header).id.toString('hex') : undefined
  } catch {
    return undefined
  } finally {
    await source.close()
  }
}
