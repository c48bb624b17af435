/** Streams of bytes on their way into a store or out of it: ended by signals, and of the length that they should have. */

import { checkBytes, storeFailure } from './store.js'

/** What a promise comes to, unless the signal is first: its reason is thrown then. */
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
    // The signal wins where both are there already.
    return await Promise.race([aborted, promise])
  } finally {
    signal.removeEventListener('abort', listener)
  }
}

/** A way to stop what `signal` stops too. To be let go when it is over: the signal may last for much longer. */
export function stoppedBy(signal: AbortSignal | undefined): { stop: AbortController; letGo: () => void } {
  const stop = new AbortController()
  const onAbort = (): void => stop.abort(signal?.reason)
  if (signal?.aborted) onAbort()
  signal?.addEventListener('abort', onAbort)
  return { stop, letGo: () => signal?.removeEventListener('abort', onAbort) }
}

/**
 * The chunks of a stream. It is told to end when the signal comes, or when nobody wants more of it, but it is not waited
 * for: it may never answer.
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
    // Whoever wanted the stream has failed for another reason.
  }
}

/**
 * A stream that can also fill memory which its taker has: whoever does that needs neither a copy of the bytes nor more memory. It is
 * read in one of the two ways, once.
 */
export abstract class FillingStream implements AsyncIterable<Uint8Array> {
  /** Fills the memory from its beginning. @returns how many bytes: fewer than it has only at the end of the stream. */
  abstract fill(memory: Uint8Array): Promise<number>

  /** In pieces that are large enough for few calls, and little beside what a store holds of a stream. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      // Each its own: a store may hold several of them.
      const piece = new Uint8Array(2 ** 20)
      const filled = await this.fill(piece)
      if (filled > 0) yield piece.subarray(0, filled)
      if (filled < piece.length) return
    }
  }
}

/** Refuses the bytes of an upload when they are not as many as was told. */
export class LengthCheck {
  readonly #key: string
  readonly #size: number | undefined
  /** That have come. */
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

  /** No more will come. @throws StillframeError `ERR_STILLFRAME_IO` */
  end(): void {
    if (this.#size !== undefined && this.bytes < this.#size) {
      throw storeFailure(
        this.#key,
        `the stream has ended after ${this.bytes} of the ${this.#size} bytes of options.size`,
      )
    }
  }
}

/** The bytes of an upload, without empty chunks. They are refused when they are not as many as was told. */
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
