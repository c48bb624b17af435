/** A report of plain snapshot files: those of a directory, or one with all that it builds on. */

import type { Stats } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { messageOf } from '../base/errors.js'
import { count } from '../base/units.js'
import { inspect, type SnapshotInfo, verify } from '../restore/inspect.js'
import type { ReportData, ReportFrame } from './data.js'
import { type FileHeader, readHeader } from './header.js'
import { type Heat, measureHeat } from './heat.js'

/** Options of a report. */
export interface ReportOptions {
  /** Where parents are that do not lie beside the files. */
  parents?: readonly string[] | undefined
  /** The newest frames that are shown; older ones are counted. */
  last: number
  /** Read and check every byte of each frame. */
  verify: boolean
  signal?: AbortSignal | undefined
  onProgress?: ((step: 'opening' | 'checking' | 'comparing', done: number, total: number) => void) | undefined
}

/** A file that begins like a snapshot. */
interface Found {
  path: string
  header: FileHeader
  stats: Stats
}

/**
 * Reports all snapshots of a directory, in the order of their instants; other files are passed over.
 */
export async function reportDirectory(directory: string, options: ReportOptions): Promise<ReportData> {
  const { found, unreadable } = await findFiles(directory)
  return await reportFound(directory, 'directory', found, unreadable, options)
}

/** Reports a snapshot and all that it builds on. */
export async function reportChain(path: string, options: ReportOptions): Promise<ReportData> {
  const header = await readHeader(path)
  // What is no snapshot is refused in the words of inspect().
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
    // What captures have not finished is no frame.
    if (!entry.isFile() || entry.name.startsWith('.')) continue
    try {
      found.push(...(await findFile(join(directory, entry.name))))
    } catch (error) {
      unreadable.push(`${entry.name}: ${messageOf(error)}`)
    }
  }
  return { found, unreadable }
}

/** None if it is no snapshot. */
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
  const { parents, signal, onProgress } = options
  const inOrder = found.toSorted(
    (a, b) =>
      a.header.frozenAt.getTime() - b.header.frozenAt.getTime() ||
      a.stats.mtimeMs - b.stats.mtimeMs ||
      a.path.localeCompare(b.path),
  )
  const first = Math.max(0, inOrder.length - options.last)
  const files = inOrder.slice(first)
  const where = parents === undefined ? {} : { parents }
  const frames: ReportFrame[] = []
  for (const [done, file] of files.entries()) {
    signal?.throwIfAborted()
    let info: SnapshotInfo | undefined
    let damage: string | undefined
    try {
      info = await inspect(file.path, where)
      if (options.verify) damage = await firstProblem(file.path, { ...where, signal })
    } catch (error) {
      signal?.throwIfAborted()
      damage = reasonOf(error, file.path)
    }
    frames.push(toFrame(first + done + 1, file, info, damage))
    onProgress?.(options.verify ? 'checking' : 'opening', done + 1, files.length)
  }
  const heat = await measureHeat(
    frames.map(({ damage }, index) => ({ path: damage === undefined ? files[index]?.path : undefined })),
    { parents, signal, onProgress: (done, total) => onProgress?.('comparing', done, total) },
  )
  return {
    place,
    kind,
    madeAt: new Date(),
    frames: frames.map((frame, index) => {
      const changedBytes = heat.changedBytes.get(index)
      const failure = heat.failures.get(index)
      return {
        ...frame,
        ...(changedBytes !== undefined && { changedBytes }),
        ...(failure !== undefined && { damage: reasonOf(failure, files[index]?.path) }),
      }
    }),
    heat,
    checked: options.verify ? 'verified' : 'opened',
    remarks: [
      ...leftOut(first, inOrder.length),
      ...aboutSections(heat),
      ...unreadable.map((reason) => `Not looked at: ${reason}.`),
      'Snapshot files do not say how long their captures paused the service; an archive does.',
    ],
  }
}

async function firstProblem(
  path: string,
  options: { parents?: readonly string[]; signal: AbortSignal | undefined },
): Promise<string | undefined> {
  const { problems } = await verify(path, { ...options, maxProblems: 1 })
  const [problem] = problems
  if (problem === undefined) return undefined
  return problem.section === undefined ? problem.reason : `section '${problem.section}': ${problem.reason}`
}

function toFrame(
  number: number,
  { path, header, stats }: Found,
  info: SnapshotInfo | undefined,
  damage: string | undefined,
): ReportFrame {
  const { id, parentId, frozenAt } = info ?? header
  return {
    number,
    name: basename(path),
    id,
    ...(parentId !== undefined && { parentId }),
    frozenAt,
    kind: parentId === undefined ? 'full' : 'delta',
    ...(info !== undefined && { byteLength: info.byteLength }),
    // Holes take no room.
    fileSize: 512 * stats.blocks,
    hasState: false,
    keptBecause: [],
    ...(damage !== undefined && { damage }),
    sections: (info?.sections ?? []).map(({ name, byteLength }) => ({ name, byteLength })),
  }
}

/** What is said of frames that are not shown. */
export function leftOut(older: number, all: number): string[] {
  if (older === 0) return []
  return [`Only the newest ${all - older} of ${all} frames are shown; --last shows more.`]
}

/** What is said of sections that are not drawn. */
export function aboutSections({ sectionsLeftOut, sectionsUnchanged }: Heat): string[] {
  return [
    ...(sectionsLeftOut === 0 ? [] : [`Not drawn: ${count(sectionsLeftOut, 'section')} that changed less.`]),
    ...(sectionsUnchanged === 0
      ? []
      : [`Not drawn: ${count(sectionsUnchanged, 'section')} that never changed.`]),
  ]
}

/** The message without the name of the file, which is said already. */
export function reasonOf(error: unknown, path: string | undefined): string {
  const message = messageOf(error)
  return path !== undefined && message.startsWith(`${path}: `) ? message.slice(path.length + 2) : message
}
