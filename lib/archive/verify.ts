/** Checking every byte of an archive. */

import { messageOf } from '../base/errors.js'
import { verify } from '../restore/inspect.js'
import { type Frame, toFrame } from './frame.js'
import { type Entry, type FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { takeLease } from './lease.js'
import { readTable } from './listing.js'
import { pathOf } from './names.js'
import { checkState } from './restore.js'

/** Options of `archive.verify()`. */
export interface ArchiveVerifyOptions {
  /** Aborts the check, which rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Where it is checked. Default: in the directory; if there is none, in the store. In the store all objects are fetched,
   * which may cost money.
   */
  places?: readonly Frame['places'][number][] | undefined
  /** Called after each frame. */
  onProgress?: ((progress: { framesDone: number; framesTotal: number }) => void) | undefined
}

/** One piece of damage. */
export interface ArchiveProblem {
  /** Absolute path of the file that is damaged or missing; in a store, the key of the object, or what its keys begin with. */
  path: string
  /** Bytes from the start of the file; absent if the problem has no place. */
  offset?: number
  /** Absent if the damage is outside all sections. */
  section?: string
  reason: string
}

/** What was found out about a frame. */
export interface FrameReport {
  number: number
  /** Where it was checked. */
  place: Frame['places'][number]
  /** Absent if the frame is so damaged that nothing can be told of it. */
  frame?: Frame
  /** True: it can be restored. */
  ok: boolean
  /** Also those of the files that it builds on. */
  problems: ArchiveProblem[]
}

/** What `archive.verify()` found. */
export interface ArchiveReport {
  /** True when all frames can be restored. */
  ok: boolean
  /** All that are listed, in order of number; those of the directory first. */
  frames: FrameReport[]
}

interface VerifyRequest {
  readonly directory: string
  readonly signal: AbortSignal | undefined
  readonly onProgress: ArchiveVerifyOptions['onProgress']
  onDamaged(number: number): void
}

export async function verifyFrames(request: VerifyRequest): Promise<FrameReport[]> {
  const { directory, signal, onProgress, onDamaged } = request
  const table = await readTable(directory)
  const listed = table.listed()
  const sound = new Set<number>()
  const frames: FrameReport[] = []
  // From the newest on: if it is sound with all that it builds on, nothing of that needs to be read again.
  for (const entry of listed.toReversed()) {
    signal?.throwIfAborted()
    const problems = await problemsOf(request, table, entry, sound)
    onProgress?.({ framesDone: frames.length + 1, framesTotal: listed.length })
    // It has been given up meanwhile.
    if (problems === undefined) continue
    if (problems.length > 0) onDamaged(entry.number)
    frames.push({
      number: entry.number,
      place: 'directory',
      ...(isKnown(entry) && { frame: toFrame(entry, []) }),
      ok: problems.length === 0,
      problems,
    })
  }
  return frames.reverse()
}

/** @param sound - numbers of frames whose memory needs no look; what is found to be sound is added. */
async function problemsOf(
  { directory, signal }: VerifyRequest,
  table: FrameTable,
  entry: Entry,
  sound: Set<number>,
): Promise<ArchiveProblem[] | undefined> {
  const manifestPath = pathOf(directory, entry.number, 'manifest')
  const problems: ArchiveProblem[] = []
  if (entry.damage !== undefined) problems.push({ path: manifestPath, reason: entry.damage })
  if (!isKnown(entry)) return problems
  const { entries } = table.chainOf(entry)
  const path = pathOf(directory, entry.number, 'memory')
  const paths = entries.map(({ number }) => pathOf(directory, number, 'memory'))
  const statePath = pathOf(directory, entry.number, 'state')
  const hasState = entry.manifest.state !== undefined
  const lease = await takeLease(hasState ? [...paths, statePath] : paths)
  if ('lost' in lease) {
    const now = (await readTable(directory)).get(entry.number)
    if (now === undefined || now.manifest?.retiredAtMs !== undefined) return undefined
    return [...problems, { path: lease.lost, reason: 'the file is missing' }]
  }
  try {
    if (!sound.has(entry.number))
      problems.push(...(await problemsOfMemory(path, [...paths, directory], signal)))
    if (problems.length === 0) for (const { number } of entries) sound.add(number)
    if (hasState) problems.push(...(await problemsOfState(entry, statePath, lease.file(paths.length))))
    return problems
  } finally {
    await lease.release()
  }
}

async function problemsOfMemory(
  path: string,
  parents: string[],
  signal: AbortSignal | undefined,
): Promise<ArchiveProblem[]> {
  try {
    const { problems } = await verify(path, { parents, signal })
    return problems.map((problem) => ({ path, ...problem }))
  } catch (error) {
    signal?.throwIfAborted()
    return [{ path, reason: messageOf(error) }]
  }
}

async function problemsOfState(
  entry: KnownEntry,
  path: string,
  file: Parameters<typeof checkState>[2],
): Promise<ArchiveProblem[]> {
  try {
    await checkState(entry, path, file)
    return []
  } catch (error) {
    return [{ path, reason: messageOf(error) }]
  }
}
