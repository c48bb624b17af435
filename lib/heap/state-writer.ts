/** The writer that the callback of `snapshotState()` receives. */

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import type { HeapAddon } from '../addon/heap-addon.js'
import { describe, invalidArgType } from '../base/errors.js'
import { encodeEnd, encodeHead } from '../values/values.js'
import { serializeValue } from './value-codec.js'

/** Receives the output of a callback; see `snapshotState()`. */
export interface StateWriter {
  /** Writes bytes unchanged, and a string as UTF-8. */
  write(chunk: string | Uint8Array): void
  /**
   * Writes one value with the structured clone algorithm; `readValues()` reads it back. A value
   * that could not be read back is refused: a value that cannot be cloned, that nests containers
   * more than 1,000 levels deep, or that takes 4 GiB or more.
   *
   * @throws TypeError if the value is refused, and any error that its getters throw.
   */
  value(value: unknown): void
}

/**
 * Makes the compiler refuse callbacks that return a promise, a generator or a function. Their work
 * would be left for later and never be done, since the frozen copy ends with the callback. Any
 * other result of a callback is ignored.
 */
export type NothingLater<Returned> = [Extract<Returned, Later>] extends [never]
  ? unknown
  : 'the callback must do its work before it returns: it runs in a copy that ends with it'

type Later =
  | PromiseLike<unknown>
  | Iterator<unknown>
  | AsyncIterator<unknown>
  | ((...args: never[]) => unknown)

/** Passes all output to `emit`, which returns false if the output cannot be written. */
export function stateWriter(
  addon: HeapAddon,
  emit: (bytes: Uint8Array) => boolean,
): { out: StateWriter; finish(): void } {
  const put = (bytes: Uint8Array): void => {
    if (!emit(bytes)) throw new Error('the file cannot be written')
  }
  let values = 0
  let raw = false
  const out: StateWriter = {
    write(chunk) {
      raw = true
      if (typeof chunk === 'string') put(Buffer.from(chunk, 'utf8'))
      else if (types.isUint8Array(chunk)) put(chunk)
      else throw invalidArgType('chunk', 'a string or a Uint8Array', chunk)
    },
    value(value) {
      const payload = serializeValue(addon, value)
      if (typeof payload === 'string')
        throw new TypeError(`value ${values + 1} (${describe(value)}) ${payload}`)
      put(encodeHead(payload))
      put(payload)
      values++
    },
  }
  const finish = (): void => {
    // If the callback also wrote raw bytes, the format of the file is up to the caller.
    if (values > 0 && !raw) put(encodeEnd(values))
  }
  return { out, finish }
}
