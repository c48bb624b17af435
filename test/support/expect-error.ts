/** What an operation threw or rejected with, so that a test can look at all of it. */

/** An error with the properties that Node and this package put on errors. */
export type CodedError = Error & { code?: string; path?: string; errno?: number; syscall?: string }

/** The error that `operation` throws; fails when it does not throw. */
export function thrownBy(operation: () => unknown): CodedError {
  try {
    operation()
  } catch (error) {
    return error as CodedError
  }
  throw new Error('nothing was thrown')
}

/** The reason that a promise is rejected with; fails when it is fulfilled. */
export async function rejectionOf(promise: Promise<unknown>): Promise<CodedError> {
  let value: unknown
  try {
    value = await promise
  } catch (error) {
    return error as CodedError
  }
  throw new Error(`fulfilled with ${String(value)}`)
}
