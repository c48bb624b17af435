/**
 * Tracing of operations for outside observers: the tracing channels of `node:diagnostics_channel`,
 * `tracing:stillframe.<operation>:start|end|asyncStart|asyncEnd|error`.
 *
 * Listeners run in the service's thread, when the event happens. If a listener throws, Node raises
 * that as an uncaught exception of its own, and the operation does not notice. No promise of the
 * operation is touched here: a failure that only listeners have observed is still unhandled.
 */

import { channel, type TracingChannel, tracingChannel } from 'node:diagnostics_channel'

/**
 * Properties common to the events of every operation. All events of an operation share one context
 * object, in which the outcome has the names that Node uses.
 */
export interface Traced<Result> {
  /** Result of the operation; absent until it has succeeded. */
  result?: Result
  /** The error that it threw or rejected with; absent unless it has failed. */
  error?: unknown
  /** Present if it failed because the caller aborted it. */
  aborted?: true
}

/** One operation that has listeners. */
export class Trace<Context extends Traced<unknown>> {
  readonly #channel: TracingChannel<unknown, Context>
  /** The object that listeners receive. Facts are added to it as they become known. */
  readonly context: Context

  /** @internal */
  constructor(channel: TracingChannel<unknown, Context>, context: Context) {
    this.#channel = channel
    this.context = context
  }

  /** Reports that the operation succeeded, some time after the call. */
  succeeded(result: Context['result']): void {
    this.context.result = result
    this.#settled()
  }

  /** Reports that the operation failed, some time after the call. */
  failed(error: unknown, aborted: boolean): void {
    this.threw(error, aborted)
    this.#settled()
  }

  /** @internal Reports that the call itself failed. */
  threw(error: unknown, aborted: boolean): void {
    this.context.error = error
    if (aborted) this.context.aborted = true
    this.#channel.error.publish(this.context)
  }

  #settled(): void {
    this.#channel.asyncStart.publish(this.context)
    this.#channel.asyncEnd.publish(this.context)
  }
}

/**
 * The channels of one kind of operation. There is one instance per kind, made when its module is
 * loaded, so that listeners and operations use the same channels.
 */
export class Tracer<Context extends Traced<unknown>> {
  readonly #channel: TracingChannel<unknown, Context>

  /** @param operation - such as `'snapshot'`. */
  constructor(operation: string) {
    this.#channel = tracingChannel<unknown, Context>(`stillframe.${operation}`)
  }

  /**
   * Calls `run` between `start` and `end`, in the async context requested by stores that are bound
   * to `start`. If `run` throws, that is published as an `error` too. If the operation continues
   * after the call, `run` passes the trace to the code that sees its end, which calls `succeeded()`
   * or `failed()` once.
   *
   * If there are no listeners at the call, neither a context nor a trace is made, even if some are
   * added later.
   *
   * @param contextOf - makes the context.
   * @param signal - the caller's signal: an error that is its reason counts as aborted.
   */
  call<Returned>(
    contextOf: () => Context,
    signal: AbortSignal | undefined,
    run: (trace: Trace<Context> | undefined) => Returned,
  ): Returned {
    if (!this.#channel.hasSubscribers) return run(undefined)
    const { start, end } = this.#channel
    const trace = new Trace(this.#channel, contextOf())
    return start.runStores(trace.context, () => {
      try {
        return run(trace)
      } catch (error) {
        trace.threw(error, isReasonOf(signal, error))
        throw error
      } finally {
        end.publish(trace.context)
      }
    })
  }

  /** The same for an asynchronous function. */
  promise<Result extends Context['result']>(
    contextOf: () => Context,
    signal: AbortSignal | undefined,
    run: () => Promise<Result>,
  ): Promise<Result> {
    return this.call(contextOf, signal, (trace) => (trace === undefined ? run() : watch(trace, signal, run)))
  }
}

async function watch<Context extends Traced<unknown>, Result extends Context['result']>(
  trace: Trace<Context>,
  signal: AbortSignal | undefined,
  run: () => Promise<Result>,
): Promise<Result> {
  let result: Result
  try {
    result = await run()
  } catch (error) {
    trace.failed(error, isReasonOf(signal, error))
    throw error
  }
  trace.succeeded(result)
  return result
}

function isReasonOf(signal: AbortSignal | undefined, error: unknown): boolean {
  return signal?.aborted === true && error === signal.reason
}

/** Message of the channel `stillframe.schedule.skipped`. */
export interface SkippedTick {
  /** Absolute directory of the archive, or its name in its store. */
  archive: string
}

const skippedTicks = channel('stillframe.schedule.skipped')

/** Reports that a schedule skips a capture because the previous one has not ended. */
export function tellSkippedTick(archive: string): void {
  if (skippedTicks.hasSubscribers) skippedTicks.publish({ archive } satisfies SkippedTick)
}
