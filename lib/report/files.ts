/**
 * Reports plain snapshot files: those of a directory, or one snapshot and all that it builds on.
 */

import type { Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { messageOf } from '../base/errors.js'
import { inspect } from '../restore/inspect.js'
import type { ReportData, ReportFrame } from './data.js'
import { examine, leftOut, type ReportOptions } from './examine.js'
import { type FileHeader, readHeader } from './header.js'

/** A file that begins like a snapshot. */
interface Found {
  path: string
  header: FileHeader
  stats: Stats
}

/** Reports all snapshots of a directory, in order of freeze time. Other files are skipped. */
export async function reportDirectory(directory: string, options: ReportOptions): Promise<ReportData> {
  const { found, unreadable } = await findFiles(directory)
  return await reportFound(directory, 'directory', found, unreadable, options)
}

/** Reports a snapshot and all frames that it builds on. */
export async function reportChain(path: string, options: ReportOptions): Promise<ReportData> {
  const header = await readHeader(path)
  // inspect() throws the right error for a file that is not a snapshot.
  if (header === undefined) await inspect(path)
  const places = options.parents ?? [dirname(path)]
  const known = new Map<string, Found>()
  for (const place of places) {
    const isDirectory = (await stat(place)).isDirectory()
    const found = isDirectory ? (await findFiles(place)).found : await findFile(place)
    for (const one of found) known.set(one.header.id, one)
  }
  const chain = await findFile(path)
  for (let [newest] = chain; newest?.header.parentId !== undefined; ) {
    const parent = known.get(newest.header.parentId)
    if (parent === undefined || chain.includes(parent)) break
    chain.push(parent)
    newest = parent
  }
  return await reportFound(path, 'chain', chain, [], options)
}

async function findFiles(directory: string): Promise<{ found: Found[]; unreadable: string[] }> {
  const found: Found[] = []
  const unreadable: string[] = []
  for (const entry of await readdir(directory, { withFileTypes: true })) {
    // Hidden files are those of unfinished captures, not frames.
    if (!entry.isFile() || entry.name.startsWith('.')) continue
    try {
      found.push(...(await findFile(join(directory, entry.name))))
    } catch (error) {
      unreadable.push(`${entry.name}: ${messageOf(error)}`)
    }
  }
  return { found, unreadable }
}

/** Resolves to [] if the file is not a snapshot. */
async function findFile(path: string): Promise<Found[]> {
  const header = await readHeader(path)
  return header === undefined ? [] : [{ path, header, stats: await stat(path) }]
}

async function reportFound(
  place: string,
  kind: ReportData['kind'],
  found: readonly Found[],
  unreadable: readonly string[],
  options: ReportOptions,
): Promise<ReportData> {
  const inOrder = found.toSorted(
    (a, b) =>
      a.header.frozenAt.getTime() - b.header.frozenAt.getTime() ||
      a.stats.mtimeMs - b.stats.mtimeMs ||
      a.path.localeCompare(b.path),
  )
  const older = Math.max(0, inOrder.length - options.last)
  const byId = new Map(inOrder.map((file) => [file.header.id, file]))
  const candidates = inOrder.slice(older).map((file, index) => ({
    path: file.path,
    parents: parentsOf(file, byId, options.parents),
    frame: toFrame(older + index + 1, file),
  }))
  const { remarks, ...examined } = await examine(candidates, options)
  return {
    place,
    kind,
    madeAt: new Date(),
    ...examined,
    remarks: [
      ...leftOut(older, inOrder.length),
      ...remarks,
      ...unreadable.map((reason) => `Not examined: ${reason}.`),
      'Snapshot files do not say how long their captures paused the service; an archive does.',
    ],
  }
}

/** The known parents, to save searching for them, and the places to search for others. */
function parentsOf(
  { path, header }: Found,
  byId: ReadonlyMap<string, Found>,
  places: readonly string[] = [dirname(path)],
): string[] {
  const known: string[] = []
  for (let id = header.parentId; id !== undefined; ) {
    const parent = byId.get(id)
    if (parent === undefined || known.includes(parent.path)) break
    known.push(parent.path)
    id = parent.header.parentId
  }
  return [...known, ...places]
}

function toFrame(number: number, { path, header, stats }: Found): ReportFrame {
  const { id, parentId, frozenAt } = header
  return {
    number,
    name: basename(path),
    id,
    ...(parentId !== undefined && { parentId }),
    frozenAt,
    kind: parentId === undefined ? 'full' : 'delta',
    // Holes take no space.
    fileSize: 512 * stats.blocks,
    hasState: false,
    keptBecause: [],
    sections: [],
  }
}
