/** Verifies every byte of an archive in a directory. */

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
  /** Aborts the verification, which then rejects with the signal's reason. */
  signal?: AbortSignal | undefined
  /**
   * Where to verify. Default: the directory or, if there is none, the store. In a store, all
   * objects are fetched, which may cost money.
   */
  places?: readonly Frame['places'][number][] | undefined
  /** Called after each frame. */
  onProgress?: ((progress: { framesDone: number; framesTotal: number }) => void) | undefined
}

/** One piece of damage. */
export interface ArchiveProblem {
  /**
   * Absolute path of the damaged or missing file; in a store, the key of the object, or the prefix
   * of its keys.
   */
  path: string
  /** Offset in the file, in bytes; absent if the problem has no location. */
  offset?: number
  /** Absent if the damage is outside all sections. */
  section?: string
  reason: string
}

/** Result for one frame. */
export interface FrameReport {
  number: number
  /** Where the frame was verified. */
  place: Frame['places'][number]
  /** Absent if the frame is too damaged to be described. */
  frame?: Frame
  /** True if the frame can be restored. */
  ok: boolean
  /** Problems in the files of the frame and of its parents. */
  problems: ArchiveProblem[]
}

/** Result of `archive.verify()`. */
export interface ArchiveReport {
  /** True if all frames can be restored. */
  ok: boolean
  /** All listed frames, in order of number; those of the directory come first. */
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
  // Start with the newest frame: if it is intact, so are its parents, which need not be read again.
  for (const entry of listed.toReversed()) {
    signal?.throwIfAborted()
    const problems = await problemsOf(request, table, entry, sound)
    onProgress?.({ framesDone: frames.length + 1, framesTotal: listed.length })
    // The frame was pruned meanwhile.
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

/** @param sound - numbers of frames whose memory is known to be intact; updated by the call. */
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
