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

/** The bytes of an upload. They are refused when they are not as many as was told. */
export async function* bytesOf(
  key: string,
  stream: AsyncIterable<Uint8Array>,
  { size, signal }: { readonly size?: number | undefined; readonly signal?: AbortSignal | undefined },
): AsyncGenerator<Uint8Array, void, undefined> {
  let total = 0
  for await (const chunk of chunksOf(stream, signal)) {
    total += checkBytes(chunk, 'a chunk of stream').length
    if (size !== undefined && total > size) {
      throw storeFailure(key, `the stream has more than the ${size} bytes of options.size`)
    }
    if (chunk.length > 0) yield chunk
  }
  if (size !== undefined && total < size) {
    throw storeFailure(key, `the stream has ended after ${total} of the ${size} bytes of options.size`)
  }
}
