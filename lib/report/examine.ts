/**
 * Opens the files of frames, to read their headers, find damage, and measure what changed between
 * frames.
 */

import { messageOf } from '../base/errors.js'
import { count } from '../base/units.js'
import type { SnapshotInfo } from '../image/info.js'
import { inspect, verify } from '../restore/inspect.js'
import type { ReportData, ReportFrame } from './data.js'
import { type Heat, measureHeat } from './heat.js'

/** Options of a report. */
export interface ReportOptions {
  /** Where to look for parents that are not next to the files. */
  parents?: readonly string[] | undefined
  /** Number of newest frames to show; older ones are only counted. */
  last: number
  /** Read and check every byte of each frame. */
  verify: boolean
  signal?: AbortSignal | undefined
  onProgress?: ((step: 'opening' | 'checking' | 'comparing', done: number, total: number) => void) | undefined
}

/** A frame, with what is known before its file is opened. */
export interface Candidate {
  path: string
  /**
   * The files that it builds on, as far as known, and directories in which to search for others.
   */
  parents: readonly string[]
  frame: ReportFrame
  /**
   * Called if the file cannot be opened; resolves to false if the frame has been given up
   * meanwhile.
   */
  isThere?(): Promise<boolean>
}

/**
 * Opens the files of candidates sorted by freeze time. A frame known to be damaged is not opened.
 *
 * Rejects only with the signal's reason.
 */
export async function examine(
  candidates: readonly Candidate[],
  options: ReportOptions,
): Promise<Pick<ReportData, 'frames' | 'heat' | 'checked'> & { remarks: string[] }> {
  const { signal, onProgress } = options
  const opened: Candidate[] = []
  for (const [done, candidate] of candidates.entries()) {
    signal?.throwIfAborted()
    const frame = await openFrame(candidate, options)
    if (frame !== undefined) opened.push({ ...candidate, frame })
    onProgress?.(options.verify ? 'checking' : 'opening', done + 1, candidates.length)
  }
  const heat = await measureHeat(
    opened.map(({ frame, path, parents }) => (frame.damage === undefined ? { path, parents } : undefined)),
    { signal, onProgress: (done, total) => onProgress?.('comparing', done, total) },
  )
  return {
    frames: opened.map(({ frame, path }, index) => {
      const failure = heat.failures.get(index)
      // In an archive, the frame records what changed since the frame on which it was captured.
      const changedBytes = frame.changedBytes ?? heat.changedBytes.get(index)
      return {
        ...frame,
        ...(changedBytes !== undefined && { changedBytes }),
        ...(failure !== undefined && { damage: reasonOf(failure, path) }),
      }
    }),
    heat,
    checked: options.verify ? 'verified' : 'opened',
    remarks: aboutSections(heat),
  }
}

/** Resolves to undefined if the frame has been given up. */
async function openFrame(
  { path, parents, frame, isThere }: Candidate,
  options: ReportOptions,
): Promise<ReportFrame | undefined> {
  if (frame.damage !== undefined) return frame
  let info: SnapshotInfo | undefined
  let damage: string | undefined
  try {
    info = await inspect(path, { parents })
    if (options.verify) damage = await firstProblem(path, parents, options.signal)
  } catch (error) {
    options.signal?.throwIfAborted()
    if (isThere !== undefined && !(await isThere())) return undefined
    damage = reasonOf(error, path)
  }
  return {
    ...frame,
    ...(info !== undefined && {
      byteLength: info.byteLength,
      sections: info.sections.map(({ name, byteLength }) => ({ name, byteLength })),
    }),
    ...(damage !== undefined && { damage }),
  }
}

async function firstProblem(
  path: string,
  parents: readonly string[],
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const { problems } = await verify(path, { parents, signal, maxProblems: 1 })
  const [problem] = problems
  if (problem === undefined) return undefined
  return problem.section === undefined ? problem.reason : `section '${problem.section}': ${problem.reason}`
}

/** Mentions the frames that are not shown. */
export function leftOut(older: number, all: number): string[] {
  if (older === 0) return []
  return [`Only the newest ${all - older} of ${all} frames are shown; --last shows more.`]
}

function aboutSections({ sectionsLeftOut, sectionsUnchanged }: Heat): string[] {
  return [
    ...(sectionsLeftOut === 0 ? [] : [`Not drawn: ${count(sectionsLeftOut, 'section')} that changed less.`]),
    ...(sectionsUnchanged === 0
      ? []
      : [`Not drawn: ${count(sectionsUnchanged, 'section')} that never changed.`]),
  ]
}

/** The message without the file name, which is shown separately. */
function reasonOf(error: unknown, path: string): string {
  const message = messageOf(error)
  return message.startsWith(`${path}: `) ? message.slice(path.length + 2) : message
}
