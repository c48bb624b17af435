/**
 * Failures of the reader, in the form in which native code reports them, so that both readers give
 * users the same errors.
 */

import type { NativeFailure } from '../base/native-failure.js'

/** A failure; see {@link NativeFailure} for the members. */
export class ReadFailure extends Error implements NativeFailure {
  readonly failure: string
  readonly errno: number
  readonly errnoName: string
  readonly syscall: string
  readonly offset: number
  readonly section: string

  constructor(failure: string, message: string, details: Partial<NativeFailure> = {}) {
    super(message)
    this.failure = failure
    this.errno = details.errno ?? 0
    this.errnoName = details.errnoName ?? ''
    this.syscall = details.syscall ?? ''
    this.offset = details.offset ?? -1
    this.section = details.section ?? ''
  }
}

/** The file differs from what a writer would write. `section`: empty if outside of all sections. */
export function corrupt(offset: number, section: string, reason: string): ReadFailure {
  return new ReadFailure('CORRUPT', reason, { offset, section })
}

/** True for damage, which a sweep collects; all other errors end the read. */
export function isDamage(error: unknown): error is ReadFailure {
  return error instanceof ReadFailure && error.failure === 'CORRUPT'
}

/**
 * Converts an error of Node's file functions to a ReadFailure; returns other errors unchanged.
 * `what` names the operation.
 */
export function systemFailure(error: unknown, what: string): unknown {
  const { errno, code, syscall } = error as NodeJS.ErrnoException
  if (typeof errno !== 'number' || typeof code !== 'string' || typeof syscall !== 'string') return error
  return new ReadFailure('IO', what, { errno: Math.abs(errno), errnoName: code, syscall })
}
