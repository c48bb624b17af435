/** The functions of `stillframe` for whole files, without its addon. */

import { Buffer } from 'node:buffer'
import { CallSite } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { type SnapshotInfo, toSnapshotInfo, toVerifyReport, type VerifyReport } from '../image/info.js'
import { openChain } from './chain.js'
import { isDamage, ReadFailure } from './failure.js'
import { blockSize, chunkSize, paddedBlockLength } from './format.js'
import type { ImageFile } from './image-file.js'
import { loadTools, Steps, told } from './job.js'
import {
  checkOpenOptions,
  checkRestoreOptions,
  checkVerifyOptions,
  type OpenOptions,
  type RestoreOptions,
  type RestoreWish,
  type VerifyOptions,
} from './options.js'
import { allocate, noSuchSection } from './snapshot-file.js'
import { checkSource, type SnapshotSource } from './source.js'
import { chunksOf, findProblems, memoryOf } from './sweep.js'

/**
 * Reads and checks everything but the pages of a snapshot, like `inspect()` of `stillframe`. The
 * type of the metadata, `Meta`, is asserted by the caller and not checked.
 *
 * Rejects like {@link openSnapshot}.
 */
export async function inspect<Meta = JsonValue>(
  source: SnapshotSource,
  options?: OpenOptions,
): Promise<SnapshotInfo<Meta>> {
  const callSite = new CallSite(inspect)
  const opener = checkSource(source, 'source')
  const { places, limits } = checkOpenOptions(options)
  const tools = await loadTools()
  const image = await told(opener.path, callSite, () => openChain(opener, places, limits, tools))
  try {
    return toSnapshotInfo<Meta>(image.info, opener.name)
  } finally {
    await image.close()
  }
}

/**
 * Checks every byte of a snapshot and of its parents, like `verify()` of `stillframe`. Damage does
 * not reject: it is in the report, and so is a file that is no snapshot at all.
 *
 * Rejects with TypeError or RangeError for invalid arguments and for a file that exceeds `limits`,
 * with the signal's reason, and with a StillframeError: `IO`, `VERSION`, `PARENT`.
 */
export async function verify(source: SnapshotSource, options?: VerifyOptions): Promise<VerifyReport> {
  const callSite = new CallSite(verify)
  const opener = checkSource(source, 'source')
  const { places, limits, maxProblems, signal, onProgress } = checkVerifyOptions(options)
  signal?.throwIfAborted()
  const tools = await loadTools()
  return await told(opener.path, callSite, async () => {
    let image: ImageFile
    try {
      image = await openChain(opener, places, limits, tools)
    } catch (error) {
      // A snapshot with damaged first bytes cannot be distinguished from a file that never was a
      // snapshot.
      if (!isDamage(error) && !(error instanceof ReadFailure && error.failure === 'FORMAT')) throw error
      const { offset, section, message: reason } = error
      return toVerifyReport({ problems: [{ offset, section, reason }], info: undefined }, opener.name)
    }
    try {
      const total = image.chain.reduce((sum, file) => sum + memoryOf(file), 0)
      const steps = new Steps(total, signal, onProgress)
      const problems = await steps.run(() => findProblems(image, maxProblems, steps.take))
      return toVerifyReport({ problems, info: image.info }, opener.name)
    } finally {
      await image.close()
    }
  })
}

/** Result of {@link restore}. */
export interface RestoredMemory<Meta = JsonValue> {
  /**
   * The memory, by section name. It has no prototype, since a section may be called `__proto__`.
   */
  readonly buffers: Record<string, ArrayBuffer>
  /** The metadata given to `snapshot()`; undefined if there was none. */
  readonly metadata: Meta | undefined
  readonly info: SnapshotInfo<Meta>
}

/**
 * Reads the sections of a snapshot into ArrayBuffers. Before anything is returned, the checks cover
 * a full file completely, whichever sections are selected. For a delta they cover all its memory,
 * in whichever file, and that it adds up to the frozen state. `Meta` is asserted by the caller and
 * not checked.
 *
 * Rejects like {@link openSnapshot}, with TypeError for a section that the file does not have, with
 * RangeError for more than `maxBytes` or for a section larger than an ArrayBuffer, and with the
 * signal's reason.
 */
export async function restore<Meta = JsonValue>(
  source: SnapshotSource,
  options?: RestoreOptions,
): Promise<RestoredMemory<Meta>> {
  const callSite = new CallSite(restore)
  const opener = checkSource(source, 'source')
  const wish = checkRestoreOptions(options)
  wish.signal?.throwIfAborted()
  const tools = await loadTools()
  return await told(opener.path, callSite, async () => {
    const image = await openChain(opener, wish.places, wish.limits, tools)
    try {
      const memories = prepare(image, wish)
      const steps = new Steps(memoryOf(image), wish.signal, wish.onProgress)
      await steps.run(() => fill(image, memories, wish.verify, steps))
      const info = toSnapshotInfo<Meta>(image.info, opener.name)
      const buffers = Object.create(null) as Record<string, ArrayBuffer>
      for (const [number, memory] of memories) {
        buffers[info.sections[number]?.name as string] = memory
      }
      return { buffers, metadata: info.metadata, info }
    } finally {
      await image.close()
    }
  })
}

/** Allocates memory for the selected sections, keyed by section number. */
function prepare(image: ImageFile, { sections: names, maxBytes }: RestoreWish): Map<number, ArrayBuffer> {
  const { sections } = image.opened
  const known = new Set(sections.map(({ name }) => name))
  for (const name of names ?? []) if (!known.has(name)) throw noSuchSection(name, image)
  const chosen = [...sections.entries()].filter(([, { name }]) => names?.has(name) ?? true)
  const total = chosen.reduce((sum, [, { byteLength }]) => sum + byteLength, 0)
  if (maxBytes !== undefined && total > maxBytes) {
    const message = `the sections to restore hold ${total} bytes, more than maxBytes (${maxBytes})`
    throw new ReadFailure('OUT_OF_RANGE', message)
  }
  return new Map(chosen.map(([number, { name, byteLength }]) => [number, allocate(byteLength, name)]))
}

async function fill(
  image: ImageFile,
  memories: ReadonlyMap<number, ArrayBuffer>,
  verify: boolean,
  steps: Steps,
): Promise<void> {
  const { isDelta, sections, trailer } = image.opened
  steps.take(0)
  const state = image.newState()
  if (verify && !isDelta) await image.checkOuterGaps()
  const out = Buffer.allocUnsafe(chunkSize)
  for (const { section, first, count, length } of chunksOf(image)) {
    const memory = memories.get(section)
    if (memory === undefined && !verify) continue
    await image.readBlocks(section, first, count, out, verify ? 'blocks' : 'nothing')
    if (verify && !isDelta) await image.checkGapsOfBlocks(section, first, count)
    for (let i = 0; verify && isDelta && i < count; i++) {
      const padded = paddedBlockLength(sections[section]?.byteLength ?? 0, first + i)
      state.addPages(section, first + i, out.subarray(i * blockSize, i * blockSize + padded))
    }
    if (memory !== undefined) new Uint8Array(memory, first * blockSize, length).set(out.subarray(0, length))
    steps.take(length)
  }
  if (verify && !isDelta) await image.checkSums()
  if (verify && isDelta && !state.value.equals(trailer.state)) throw image.wrongState()
}
