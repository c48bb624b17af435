/** Opens a file with all that it builds on, which is found by the ids in headers. */

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

/** A file or directory to look in, or bytes that lie in no file. */
export type Place = string | Opener

/**
 * Opens a file and, of a delta, its parents down to the full file.
 *
 * @param places - where to look for parents; none: beside each file.
 */
export async function openChain(
  opener: Opener,
  places: readonly Place[],
  limits: NativeReadLimits,
  tools: Tools,
): Promise<ImageFile> {
  const open = (one: Opener): Promise<ImageFile> => openOne(one, limits, tools)
  // From the newest on.
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
    // From the full file on.
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

/** Whoever names files need not have all others in a directory looked at. */
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

/** What lies in the places, by id; each is looked through once. */
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
    const where = names.length === 0 ? 'has not been given' : `is not in ${names.join(' ')}`
    throw new ReadFailure(
      'PARENT',
      `${source.name} holds only what differs from the snapshot ${idFromBytes(header.parentId)}, which ${where}` +
        `${tried.join('')}. Put it there, or say in \`parents\` where it is`,
    )
  }

  #placesFor(path: string | undefined): Places {
    if (this.#places.files.length + this.#places.directories.length > 0) return this.#places
    return { files: [], directories: path === undefined ? [] : [dirname(path)] }
  }

  /** A frame may lie there twice: as it was taken, and as the one file that its chain was made of, which is better. */
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

/** All that looks like a snapshot there. */
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

/** The id of what looks like a snapshot; undefined of anything else. */
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
