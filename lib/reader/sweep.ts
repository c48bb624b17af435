/** Checks every byte of a file and of its parents. */

import { Buffer } from 'node:buffer'
import type { ImageProblem } from '../image/info.js'
import { isDamage } from './failure.js'
import { blockSize, blocksPerChunk, chunkSize } from './format.js'
import type { ImageFile } from './image-file.js'

/** Called before each step, which may take milliseconds. An error that it throws ends the work. */
export type OnStep = (bytesDone: number) => void

/** Consecutive blocks within a chunk. */
export interface Run {
  readonly section: number
  readonly first: number
  readonly count: number
  /** Bytes of memory in these blocks. */
  readonly length: number
}

/** Yields the chunks of a file, section by section. */
export function* chunksOf(file: ImageFile): Generator<Run> {
  for (const section of file.opened.sections.keys()) yield* chunksOfSection(file, section)
}

export function* chunksOfSection(
  file: ImageFile,
  section: number,
  from = 0,
  to = file.opened.sections[section]?.blockCount ?? 0,
): Generator<Run> {
  const { byteLength } = file.opened.sections[section] ?? { byteLength: 0 }
  for (let first = from; first < to; ) {
    const nextChunk = first - (first % blocksPerChunk) + blocksPerChunk
    const count = Math.min(nextChunk, to) - first
    yield { section, first, count, length: Math.min(count * blockSize, byteLength - first * blockSize) }
    first += count
  }
}

/** Bytes of memory in all sections of a file. */
export function memoryOf(file: ImageFile): number {
  return file.opened.sections.reduce((sum, { byteLength }) => sum + byteLength, 0)
}

/** Finds damage in a file and its parents; returns at most `maxProblems` problems. */
export async function findProblems(
  file: ImageFile,
  maxProblems: number,
  onStep: OnStep,
): Promise<ImageProblem[]> {
  const problems: ImageProblem[] = []
  for (const one of file.chain) {
    if (problems.length === maxProblems) return problems
    const found = await problemsIn(one, maxProblems - problems.length, onStep)
    problems.push(...found.map((problem) => ({ ...problem, reason: one.reasonOf(problem.reason) })))
  }
  if (problems.length > 0 || (await file.holdsState(() => onStep(0)))) return problems
  const { offset, section, message } = file.wrongState()
  return [{ offset, section, reason: message }]
}

/** Returns problems in file order, those of the sums last. */
async function problemsIn(file: ImageFile, most: number, onStep: OnStep): Promise<ImageProblem[]> {
  const found: { task: number; problem: ImageProblem }[] = []
  const attempt = async (task: number, work: () => Promise<void>): Promise<boolean> => {
    try {
      await work()
      return true
    } catch (error) {
      if (!isDamage(error)) throw error
      const { offset, section, message } = error
      found.push({ task, problem: { offset, section, reason: message } })
      return false
    }
  }
  let task = 0
  /** Reads the blocks together and, if there is damage, one by one, since the report names each. */
  const each = async (
    first: number,
    count: number,
    work: (first: number, count: number) => Promise<void>,
  ): Promise<void> => {
    try {
      await work(first, count)
    } catch (error) {
      if (!isDamage(error)) throw error
      for (let block = first; block < first + count; block++) await attempt(task, () => work(block, 1))
    }
  }

  onStep(0)
  // Without intact sums there is nothing to compare pages with.
  const check = (await attempt(Number.POSITIVE_INFINITY, () => file.checkSums())) ? 'sums' : 'blocks'
  if (found.length < most) await attempt(0, () => file.checkOuterGaps())
  const out = Buffer.allocUnsafe(chunkSize)
  for (const { section, first, count, length } of chunksOf(file)) {
    if (found.length >= most) break
    onStep(length)
    task++
    await each(first, count, (from, blocks) => file.readOwnBlocks(section, from, blocks, out, check))
    const gaps = (from: number, blocks: number): Promise<void> =>
      file.checkGapsOfBlocks(section, from, blocks)
    // In a packed file the gap is after the last block of a chunk.
    if (file.opened.layout === 'packed') await attempt(task, () => gaps(first, count))
    else await each(first, count, gaps)
  }
  found.sort((a, b) => (a.task === b.task ? a.problem.offset - b.problem.offset : a.task - b.task))
  return found.slice(0, most).map(({ problem }) => problem)
}
