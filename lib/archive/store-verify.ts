/**
 * Verifies an archive in a store. Fetches all objects of its frames, compares them with what was
 * uploaded, and discards them.
 */

import { codeOf, messageOf } from '../base/errors.js'
import type { ObjectStore } from '../store/store.js'
import { toFrame } from './frame.js'
import { type FrameTable, isKnown, type KnownEntry } from './frame-table.js'
import { downloadParts, type StoredPart } from './remote/index.js'
import { objectsOf } from './replica-plan.js'
import type { ArchiveProblem, ArchiveVerifyOptions, FrameReport } from './verify.js'

export interface StoreVerifyRequest {
  readonly signal: AbortSignal | undefined
  readonly onProgress: ArchiveVerifyOptions['onProgress']
}

/** Number of objects that are fetched in parallel, and bytes in flight for each: 128 MiB in all. */
const width = 4
const bytesInFlight = 32 * 2 ** 20

/** The problem of an object; undefined if it is intact. */
type Verdict = Promise<ArchiveProblem | undefined>

/**
 * @throws StillframeError `ERR_STILLFRAME_IO` if the store cannot be reached, which says nothing
 *   about its frames.
 */
export async function verifyStore(
  store: ObjectStore,
  table: FrameTable,
  { signal, onProgress }: StoreVerifyRequest,
): Promise<FrameReport[]> {
  const listed = table.listed().filter(isKnown)
  // Shared by all frames that build on the same parent, any of which may be retired before the
  // others.
  const verdicts = new Map<string, Verdict>()
  const inTurn = limiter(width)
  const failed = new AbortController()
  const stop = signal === undefined ? failed.signal : AbortSignal.any([signal, failed.signal])
  const verdictOf = (part: StoredPart): Verdict => {
    let verdict = verdicts.get(part.key)
    if (verdict === undefined) {
      verdict = inTurn(() => problemOf(store, part, stop))
      verdict.catch((error: unknown) => failed.abort(error))
      verdicts.set(part.key, verdict)
    }
    return verdict
  }
  const frames: FrameReport[] = []
  try {
    for (const entry of listed) {
      const problems = await problemsOf(table, entry, verdictOf)
      signal?.throwIfAborted()
      frames.push({
        number: entry.number,
        place: 'store',
        frame: toFrame(entry, [], 'store'),
        ok: problems.length === 0,
        problems,
      })
      onProgress?.({ framesDone: frames.length, framesTotal: listed.length })
      signal?.throwIfAborted()
    }
  } finally {
    failed.abort(new Error('the verification has ended'))
    await Promise.allSettled(verdicts.values())
  }
  return frames
}

async function problemsOf(
  table: FrameTable,
  entry: KnownEntry,
  verdictOf: (part: StoredPart) => Verdict,
): Promise<ArchiveProblem[]> {
  const { entries, missing } = table.chainOf(entry)
  const problems: ArchiveProblem[] = []
  if (missing !== undefined)
    problems.push({ path: keyOf(entry), reason: `the frame that it builds on, ${missing}, is missing` })
  const parts: StoredPart[] = []
  for (const one of entries) {
    const { memory, state } = objectsOf(one)
    if (sizeOf(memory) !== one.manifest.fileSize) problems.push(wrongSize(one, memory, one.manifest.fileSize))
    parts.push(...memory)
    if (one !== entry || one.manifest.state === undefined) continue
    const { fileSize } = one.manifest.state
    if (sizeOf(state ?? []) !== fileSize) problems.push(wrongSize(one, state ?? [], fileSize))
    parts.push(...(state ?? []))
  }
  // Start all checks at once, so that several are in progress.
  for (const problem of await Promise.all(parts.map(verdictOf)))
    if (problem !== undefined) problems.push(problem)
  return problems
}

function keyOf({ manifest }: KnownEntry): string {
  return `data/${manifest.id}`
}

function sizeOf(parts: readonly StoredPart[]): number {
  return parts.reduce((sum, { size }) => sum + size, 0)
}

function wrongSize(entry: KnownEntry, parts: readonly StoredPart[], expected: number): ArchiveProblem {
  return {
    path: keyOf(entry),
    reason: `the objects of a file have ${sizeOf(parts)} bytes in total, but the file has ${expected}`,
  }
}

/** Errors that concern the object and not the connection to the store. */
const codesOfProblems = new Set([
  'ERR_STILLFRAME_CORRUPT',
  'ERR_STILLFRAME_NOT_FOUND',
  'ERR_STILLFRAME_KEY',
  'ERR_STILLFRAME_FORMAT',
  'ERR_STILLFRAME_VERSION',
])

async function problemOf(
  store: ObjectStore,
  part: StoredPart,
  signal: AbortSignal,
): Promise<ArchiveProblem | undefined> {
  const { key: path, size } = part
  signal.throwIfAborted()
  try {
    const found = await store.head(path, { signal })
    if (found === undefined) return { path, reason: 'the object is missing' }
    if (found.size !== size) return { path, reason: `it has ${found.size} bytes instead of ${size}` }
    const target = { write: async (): Promise<void> => {} }
    await downloadParts({ store, parts: [part], target, maxBytesInFlight: bytesInFlight, signal })
    return undefined
  } catch (error) {
    signal.throwIfAborted()
    if (codesOfProblems.has(String(codeOf(error)))) return { path, reason: messageOf(error) }
    throw error
  }
}

/** Runs at most `most` jobs at a time, in the order of the calls. */
function limiter(most: number): <Value>(work: () => Promise<Value>) => Promise<Value> {
  let free = most
  const waiting: (() => void)[] = []
  return async (work) => {
    if (free > 0) free--
    else await new Promise<void>((resolve) => waiting.push(resolve))
    try {
      return await work()
    } finally {
      const next = waiting.shift()
      if (next === undefined) free++
      else next()
    }
  }
}
