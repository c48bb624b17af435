/** Fills memory that is handed out before all of it is restored, and reports how that ends. */

import { AsyncResource } from 'node:async_hooks'
import type { LazyPlan, NativeLazyRestored } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { type CallSite, fromNative, StillframeError } from '../base/errors.js'
import { notify, ProgressClock } from '../base/progress.js'
import type { RestoreWish } from './restore.js'

/** The part of a lazy restore's plan that does not depend on where the bytes are. */
export type LazyWish = Pick<LazyPlan, 'verify' | 'sections' | 'maxBytes' | 'limits' | 'firstUses'>

export interface LazyStart {
  readonly plan: LazyWish
  readonly onOpen: (number: number) => void
  readonly onEnd: (failure: Error | null) => void
}

export interface LazyRequest {
  /** For error messages. */
  readonly path: string
  readonly callSite: CallSite
  readonly wish: RestoreWish
  /** Starts the filling; both callbacks are called later. Returns a function that cancels it. */
  start(start: LazyStart): () => void
}

/** The filling of all regions of a restore. */
export interface Filling {
  readonly ready: Promise<void>
  /**
   * Ends the filling if it is still running. Once this returns, it no longer touches the memory.
   */
  close(): void
}

/** Resolves when the memory can be handed out; rejects if the restore fails before that. */
export async function fillLazily(
  request: LazyRequest,
): Promise<{ filling: Filling; native: NativeLazyRestored }> {
  const { path, callSite, wish } = request
  const { signal, onProgress } = wish
  signal?.throwIfAborted()
  return await new Promise((resolve, reject) => {
    let isReady = (): void => {}
    let isNotReady = (_error: unknown): void => {}
    const ready = new Promise<void>((fulfil, refuse) => {
      isReady = fulfil
      isNotReady = refuse
    })
    let cancel = (): void => {}
    let native: NativeLazyRestored | undefined
    let isOver = false
    /** The error to report if `close()` or the signal ended the filling. */
    let reason: { readonly error: unknown } | undefined
    const clock = new ProgressClock()
    const counters = new Float64Array(2)
    const report = (): void => {
      native?.progress(counters)
      if (onProgress) notify(onProgress, { bytesDone: counters[0] ?? 0, bytesTotal: counters[1] ?? 0 })
    }
    const end = (error: unknown): void => {
      if (isOver) return
      reason = { error }
      if (native === undefined) cancel()
      else native.cancel()
    }
    const onAbort = (): void => end(signal?.reason)
    const close = (): void => {
      if (isOver || reason !== undefined) return
      // A caller that has closed the memory need not handle the rejection of `ready`.
      ready.catch(() => {})
      end(
        new StillframeError(
          'ERR_STILLFRAME_CLOSED',
          `the memory was closed before all of '${path}' was restored`,
          { path },
        ),
      )
    }
    const onOpen = (number: number): void => {
      native = loadAddon().adoptLazily(number)
      if (native === undefined) return
      if (reason === undefined) {
        resolve({ filling: { ready, close }, native })
        return
      }
      native.cancel()
      for (const { region } of native.sections) region?.close()
    }
    const onEnd = (failure: Error | null): void => {
      isOver = true
      signal?.removeEventListener('abort', onAbort)
      if (failure !== null || reason !== undefined) clock.remove(report)
      clock.stop()
      if (failure === null && reason === undefined) {
        isReady()
        return
      }
      const error = reason === undefined ? fromNative(failure, path, callSite) : reason.error
      // `ready` was never handed out, or the caller that aborted already knows: no unhandled
      // rejection.
      if (native === undefined || signal?.aborted) ready.catch(() => {})
      isNotReady(error)
      reject(error)
    }
    signal?.addEventListener('abort', onAbort, { once: true })
    if (onProgress !== undefined) clock.add(report)
    try {
      const { verify, sections, maxBytes, limits, firstUses } = wish
      cancel = request.start({
        plan: { verify, sections, maxBytes, limits, firstUses },
        onOpen: AsyncResource.bind(onOpen),
        onEnd: AsyncResource.bind(onEnd),
      })
    } catch (error) {
      onEnd(error as Error)
    }
  })
}
