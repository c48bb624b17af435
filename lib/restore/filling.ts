/** Memory that was handed out before all of it is there: how it comes to its end. */

import { AsyncResource } from 'node:async_hooks'
import type { LazyPlan, NativeLazyRestored } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { type CallSite, fromNative, StillframeError } from '../base/errors.js'
import { notify, ProgressClock } from '../base/progress.js'
import type { RestoreWish } from './restore.js'

/** What a restore asks for, wherever the bytes are. */
export type LazyWish = Pick<LazyPlan, 'verify' | 'sections' | 'maxBytes' | 'limits' | 'firstUses'>

export interface LazyStart {
  readonly plan: LazyWish
  readonly onOpen: (number: number) => void
  readonly onEnd: (failure: Error | null) => void
}

export interface LazyRequest {
  /** For errors. */
  readonly path: string
  readonly callSite: CallSite
  readonly wish: RestoreWish
  /** Begins; both callbacks come later. Returns what ends it. */
  start(start: LazyStart): () => void
}

/** The filling of all regions of a restore. */
export interface Filling {
  readonly ready: Promise<void>
  /** Ends it if it is not over. When this has returned, nothing of it touches the memory any more. */
  close(): void
}

/** Settles when the memory is there, or when it never will be. */
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
    /** Why it was ended by somebody. */
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
      // Nobody has to wait for the end of what he has closed.
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
      // One of the two has not been told.
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
