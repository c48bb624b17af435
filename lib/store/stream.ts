/**
 * Byte streams into and out of stores: aborted by signals, and checked for their expected length.
 */

import { checkBytes, storeFailure } from './store.js'

/** Settles like the promise, or rejects with the signal's reason if the signal is aborted first. */
export async function untilAborted<Value>(
  promise: PromiseLike<Value>,
  signal: AbortSignal | undefined,
): Promise<Value> {
  if (signal === undefined) return await promise
  let listener: () => void = () => {}
  const aborted = new Promise<never>((_resolve, reject) => {
    listener = () => reject(signal.reason)
    if (signal.aborted) listener()
    signal.addEventListener('abort', listener)
  })
  try {
    // The signal wins if both have already happened.
    return await Promise.race([aborted, promise])
  } finally {
    signal.removeEventListener('abort', listener)
  }
}

/**
 * Returns a controller that is also aborted by `signal`. Call `letGo()` at the end, since the
 * signal may live much longer.
 */
export function stoppedBy(signal: AbortSignal | undefined): { stop: AbortController; letGo: () => void } {
  const stop = new AbortController()
  const onAbort = (): void => stop.abort(signal?.reason)
  if (signal?.aborted) onAbort()
  signal?.addEventListener('abort', onAbort)
  return { stop, letGo: () => signal?.removeEventListener('abort', onAbort) }
}

/**
 * Yields the chunks of a stream. When the signal is aborted or the consumer stops, the stream is
 * asked to end but not awaited, since it may never answer.
 */
export async function* chunksOf<Chunk>(
  stream: AsyncIterable<Chunk>,
  signal: AbortSignal | undefined,
): AsyncGenerator<Chunk, void, undefined> {
  const iterator = stream[Symbol.asyncIterator]()
  let ended = false
  try {
    for (;;) {
      const next = await untilAborted(iterator.next(), signal)
      if (next.done) {
        ended = true
        return
      }
      yield next.value
    }
  } finally {
    if (!ended) void end(iterator)
  }
}

async function end(iterator: AsyncIterator<unknown>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // The consumer has already failed for another reason.
  }
}

/**
 * A stream that can also fill memory of its consumer, which then needs neither a copy of the bytes
 * nor more memory. It is read in one of the two ways, once.
 */
export abstract class FillingStream implements AsyncIterable<Uint8Array> {
  /**
   * Fills the memory from its beginning.
   *
   * @returns the number of bytes, which is below the memory's length only at the end of the stream.
   */
  abstract fill(memory: Uint8Array): Promise<number>

  /**
   * Yields pieces that are large enough for few calls, yet small compared to what a store buffers.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      // Each piece has its own memory, since a store may keep several of them.
      const piece = new Uint8Array(2 ** 20)
      const filled = await this.fill(piece)
      if (filled > 0) yield piece.subarray(0, filled)
      if (filled < piece.length) return
    }
  }
}

/** Refuses an upload whose number of bytes differs from the expected one. */
export class LengthCheck {
  readonly #key: string
  readonly #size: number | undefined
  /** Number of bytes so far. */
  bytes = 0

  constructor(key: string, size: number | undefined) {
    this.#key = key
    this.#size = size
  }

  /** @throws StillframeError `ERR_STILLFRAME_IO` */
  add(bytes: number): void {
    this.bytes += bytes
    if (this.#size !== undefined && this.bytes > this.#size) {
      throw storeFailure(this.#key, `the stream has more than the ${this.#size} bytes of options.size`)
    }
  }

  /** Ends the stream. @throws StillframeError `ERR_STILLFRAME_IO` */
  end(): void {
    if (this.#size !== undefined && this.bytes < this.#size) {
      throw storeFailure(
        this.#key,
        `the stream has ended after ${this.bytes} of the ${this.#size} bytes of options.size`,
      )
    }
  }
}

/**
 * Yields the bytes of an upload, without empty chunks. Throws if their number differs from `size`.
 */
export async function* bytesOf(
  key: string,
  stream: AsyncIterable<Uint8Array>,
  { size, signal }: { readonly size?: number | undefined; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Uint8Array, void, undefined> {
  const length = new LengthCheck(key, size)
  for await (const chunk of chunksOf(stream, signal)) {
    length.add(checkBytes(chunk, 'a chunk of stream').length)
    if (chunk.length > 0) yield chunk
  }
  length.end()
}
