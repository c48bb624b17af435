/** An open snapshot, for reading sections. */

import { Buffer } from 'node:buffer'
import { CallSite, invalidArgValue, outOfRange, rangeError, StillframeError } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { printable } from '../base/printable.js'
import { type SnapshotInfo, toSnapshotInfo, toVerifyReport, type VerifyReport } from '../image/info.js'
import { openChain } from './chain.js'
import { blockSize, chunkSize, roundUp } from './format.js'
import type { ImageFile } from './image-file.js'
import { loadTools, Steps, told, unlessAborted } from './job.js'
import {
  checkOpenOptions,
  checkOwnVerifyOptions,
  checkReadOptions,
  type OpenOptions,
  type ReadOptions,
  type ReadWish,
  type VerifyOptions,
} from './options.js'
import { checkSource, type SnapshotSource } from './source.js'
import { chunksOfSection, findProblems, memoryOf, type Run } from './sweep.js'

/** Number of section names in the message about an unknown section. */
const namesInMessage = 16

let makeSnapshotFile: <Meta>(image: ImageFile, name: string) => SnapshotFile<Meta>

/**
 * Opens a snapshot and its parents. Like `inspect()`, it reads and checks everything but the pages.
 * Files stay open until {@link SnapshotFile.close}.
 *
 * Rejects with TypeError or RangeError for invalid arguments and for a file that exceeds `limits`;
 * with a StillframeError: `FORMAT`, `VERSION`, `CORRUPT`, `PARENT`, `IO`; and with any error of a
 * source's `read()`.
 */
export async function openSnapshot<Meta = JsonValue>(
  source: SnapshotSource,
  options?: OpenOptions,
): Promise<SnapshotFile<Meta>> {
  const callSite = new CallSite(openSnapshot)
  const opener = checkSource(source, 'source')
  const { places, limits } = checkOpenOptions(options)
  const tools = await loadTools()
  const image = await told(opener.path, callSite, () => openChain(opener, places, limits, tools))
  try {
    return makeSnapshotFile<Meta>(image, opener.name)
  } catch (error) {
    // The metadata is not valid JSON.
    await image.close()
    throw error
  }
}

/** Result of {@link openSnapshot}. Concurrent reads are allowed. */
export class SnapshotFile<Meta = JsonValue> {
  /** Description of the file. */
  readonly info: SnapshotInfo<Meta>
  readonly #image: ImageFile
  #isClosed = false

  static {
    makeSnapshotFile = (image, name) => new SnapshotFile(image, name)
  }

  private constructor(image: ImageFile, name: string) {
    if (image?.opened === undefined) {
      throw new TypeError('SnapshotFile has no public constructor: use openSnapshot()')
    }
    this.info = toSnapshotInfo<Meta>(image.info, name)
    this.#image = image
  }

  /**
   * Reads a section, or a part of it, into new memory. All data is checked before it is returned:
   * blocks are compared with their checksums. For a delta, each page is also compared with its sum,
   * and the first read compares the sums of all files with the frozen state, which takes 1/256 of
   * the time of reading everything.
   *
   * Rejects with TypeError or RangeError for invalid arguments, for a section that the file does
   * not have, and for a range larger than an ArrayBuffer; with the signal's reason; and with a
   * StillframeError: `CORRUPT`, `IO`, `CLOSED`.
   */
  async read(section: string, options?: ReadOptions): Promise<ArrayBuffer> {
    const callSite = new CallSite(this.read)
    const range = this.#rangeOf(section, checkReadOptions(options))
    const memory = allocate(range.end - range.start, section)
    let done = 0
    // One buffer is reused for all pieces.
    const scratch = Buffer.from(
      new ArrayBuffer(Math.min(chunkSize, roundUp(memory.byteLength, blockSize) + blockSize)),
    )
    for await (const piece of this.#pieces(range, callSite, scratch)) {
      // A view of just this part, since the limit of typed arrays may be below that of
      // ArrayBuffers.
      new Uint8Array(memory, done, piece.length).set(piece)
      done += piece.length
    }
    return memory
  }

  /**
   * Like {@link SnapshotFile.read}, piece by piece, for sections larger than memory: at most 4 MiB
   * at a time, in order. Each piece is checked before it is yielded, and belongs to the caller.
   */
  chunks(section: string, options?: ReadOptions): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const callSite = new CallSite(this.chunks)
    return this.#pieces(this.#rangeOf(section, checkReadOptions(options)), callSite)
  }

  /** Checks every byte of the file and of its parents; see {@link verify}. */
  async verify(options?: Omit<VerifyOptions, keyof OpenOptions>): Promise<VerifyReport> {
    const callSite = new CallSite(this.verify)
    const { maxProblems, signal, onProgress } = checkOwnVerifyOptions(options)
    const image = this.#image
    const { path, name } = image.opened.source
    const total = image.chain.reduce((sum, file) => sum + memoryOf(file), 0)
    const steps = new Steps(total, signal, onProgress)
    const onStep = (bytes: number): void => {
      this.#refuseIfClosed()
      steps.take(bytes)
    }
    const problems = await told(path, callSite, () =>
      steps.run(() => findProblems(image, maxProblems, onStep)),
    )
    return toVerifyReport({ problems, info: image.info }, name)
  }

  /**
   * Closes the files. Pending reads reject. Idempotent. Sources that are not files belong to the
   * caller and are not closed.
   */
  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    await this.#image.close()
  }

  /** Calls {@link SnapshotFile.close}, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #refuseIfClosed(): void {
    if (!this.#isClosed) return
    const { path, name } = this.#image.opened.source
    const message = `${name}: the snapshot was closed. Close it only after the last read from it has ended.`
    throw new StillframeError('ERR_STILLFRAME_CLOSED', message, { path })
  }

  /** @throws TypeError, RangeError, StillframeError `ERR_STILLFRAME_CLOSED`. */
  #rangeOf(section: unknown, wish: ReadWish): Range {
    this.#refuseIfClosed()
    const number = this.#image.opened.sections.findIndex(({ name }) => name === section)
    if (number < 0) throw noSuchSection(section, this.#image)
    const { byteLength } = this.info.sections[number] ?? { byteLength: 0 }
    const { start = 0, end = byteLength, verify, signal } = wish
    if (end > byteLength) throw outOfRange('options.end', `at most ${byteLength}, the section's length`, end)
    if (start > end) throw outOfRange('options.start', `at most options.end (${end})`, start)
    return { number, start, end, verify, signal }
  }

  async *#pieces(
    { number, start, end, verify, signal }: Range,
    callSite: CallSite,
    scratch?: Buffer<ArrayBuffer>,
  ): AsyncGenerator<Uint8Array<ArrayBuffer>, void, undefined> {
    const image = this.#image
    const { path } = image.opened.source
    const { isDelta } = image.opened
    const check = verify ? (isDelta ? 'sums' : 'blocks') : 'nothing'
    const work = async (run: Run, out: Buffer): Promise<void> => {
      if (isDelta && verify) await image.checkState()
      await image.readBlocks(run.section, run.first, run.count, out, check)
    }
    if (start === end) return
    const [first, last] = [Math.floor(start / blockSize), Math.ceil(end / blockSize)]
    for (const run of chunksOfSection(image, number, first, last)) {
      const length = run.count * blockSize
      const out = scratch?.subarray(0, length) ?? Buffer.from(new ArrayBuffer(length))
      await told(path, callSite, async () => {
        this.#refuseIfClosed()
        // If the file is closed meanwhile, Node throws an error of its own; report `CLOSED`
        // instead.
        await unlessAborted(() => work(run, out), signal).finally(() => this.#refuseIfClosed())
      })
      const at = run.first * blockSize
      const [from, to] = [Math.max(start - at, 0), Math.min(end - at, out.length)]
      yield new Uint8Array(out.buffer, out.byteOffset + from, to - from)
    }
  }
}

interface Range extends ReadWish {
  readonly number: number
  readonly start: number
  readonly end: number
}

/** Creates the error for an unknown section name. */
export function noSuchSection(section: unknown, image: ImageFile): TypeError {
  const names = image.opened.sections.map(({ name }) => `'${printable(name)}'`)
  const more = names.length > namesInMessage ? ` and ${names.length - namesInMessage} more` : ''
  const { name } = image.opened.source
  const found = names.slice(0, namesInMessage).join(' ')
  return invalidArgValue(
    `${name}: the file has no section '${printable(String(section))}'; it has ${found}${more}`,
  )
}

/** @throws RangeError. */
export function allocate(byteLength: number, section: string): ArrayBuffer {
  try {
    return new ArrayBuffer(byteLength)
  } catch {
    throw rangeError(
      `section '${printable(section)}': ${byteLength} bytes are more than an ArrayBuffer of this Node can ` +
        'have, or more than there is memory. Read it in parts: with start and end, or with chunks()',
    )
  }
}
