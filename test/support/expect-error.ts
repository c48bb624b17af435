/** Catches what an operation throws or rejects with, so that a test can inspect all of it. */

/** An error with the properties that Node and this package put on errors. */
export type CodedError = Error & { code?: string; path?: string; errno?: number; syscall?: string }

/** Returns the error that `operation` throws; fails if it does not throw. */
export function thrownBy(operation: () => unknown): CodedError {
  try {
    operation()
  } catch (error) {
    return error as CodedError
  }
  throw new Error('nothing was thrown')
}

/** Returns the reason for which a promise is rejected; fails if it is fulfilled. */
export async function rejectionOf(promise: Promise<unknown>): Promise<CodedError> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return error as CodedError
  }
  throw new Error(`fulfilled with ${String(value)}`)
}
