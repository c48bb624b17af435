/** What the callback of `snapshotState()` writes with. */

import { Buffer } from 'node:buffer'
import { types } from 'node:util'
import type { HeapAddon } from '../addon/heap-addon.js'
import { describe, invalidArgType } from '../base/errors.js'
import { encodeEnd, encodeHead } from '../values/values.js'
import { serializeValue } from './value-codec.js'

/** Takes the output of a callback; see `snapshotState()`. */
export interface StateWriter {
  /** Writes bytes as they are, and a string as UTF-8. */
  write(chunk: string | Uint8Array): void
  /**
   * Writes one value, by the structured clone algorithm; `readValues()` gives it back. A value that
   * could not be read back is refused: one that cannot be cloned, that has more than 1,000
   * containers within one another, or that takes 4 GiB or more.
   *
   * @throws TypeError if the value is refused, and whatever its getters throw.
   */
  value(value: unknown): void
}

/**
 * Makes the compiler refuse callbacks that return a promise, a generator or a function, whose work
 * would be left for later: it would never be done, since the frozen copy ends with the callback.
 * Any other result of a callback is ignored.
 */
export type NothingLater<Returned> = [Extract<Returned, Later>] extends [never]
  ? unknown
  : 'the callback must do its work before it returns: it runs in a copy that ends with it'

type Later =
  | PromiseLike<unknown>
  | Iterator<unknown>
  | AsyncIterator<unknown>
  | ((...args: never[]) => unknown)

/** Hands everything to `emit`, which is false if it cannot be written. */
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
    // A file that was also written by hand is the caller's to read.
    if (values > 0 && !raw) put(encodeEnd(values))
  }
  return { out, finish }
}
