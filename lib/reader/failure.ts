/**
 * How reading fails: in the form in which native code reports it, so that both readers tell their
 * users the same.
 */

import type { NativeFailure } from '../base/native-failure.js'

/** What went wrong; {@link NativeFailure} says what the members are. */
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

/** The file is not what a writer wrote. `section`: empty outside of all sections. */
export function corrupt(offset: number, section: string, reason: string): ReadFailure {
  return new ReadFailure('CORRUPT', reason, { offset, section })
}

/** True for damage; everything else ends the reading. */
export function isDamage(error: unknown): error is ReadFailure {
  return error instanceof ReadFailure && error.failure === 'CORRUPT'
}

/** What Node's own file functions threw, if they did, and what was being done. */
export function systemFailure(error: unknown, what: string): unknown {
  const { errno, code, syscall } = error as NodeJS.ErrnoException
  if (typeof errno !== 'number' || typeof code !== 'string' || typeof syscall !== 'string') return error
  return new ReadFailure('IO', what, { errno: Math.abs(errno), errnoName: code, syscall })
}
