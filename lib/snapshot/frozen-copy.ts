/**
 * Distinguishes the service from a frozen copy of it, in which the callback of `snapshotState()`
 * runs.
 */

let frozen = false

/** @internal Marks this process as a frozen copy, for the rest of its life. */
export function enterFrozenCopy(): void {
  frozen = true
}

/** @internal Throws in a copy, because `what` needs threads and locks that only the service has. */
export function refuseInFrozenCopy(what: string): void {
  if (frozen) throw refusalInFrozenCopy(what)
}

/** @internal */
export function refusalInFrozenCopy(what: string): Error {
  return new Error(
    `${what}() cannot be used here: the callback of snapshotState() runs in a frozen copy of the process, which ` +
      'has no other threads and no event loop. Write what it needs with `out`, and do the rest in the service',
  )
}
