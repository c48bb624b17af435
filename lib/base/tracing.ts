/**
 * What an operation tells to those who look on from outside: the tracing channels of
 * `node:diagnostics_channel`, `tracing:stillframe.<operation>:start|end|asyncStart|asyncEnd|error`.
 *
 * Listeners run in the service's thread, when the event happens. Node raises what one of them throws
 * as an uncaught exception of its own, and the operation does not notice. No promise of the
 * operation is touched here: a failure that only listeners have heard of is still unhandled.
 */

import { channel, type TracingChannel, tracingChannel } from 'node:diagnostics_channel'

/**
 * What every event of an operation carries besides what is known of it: one object for all events of
 * one operation, in which Node's names stand for the outcome.
 */
export interface Traced<Result> {
  /** What the operation delivered; absent until it has succeeded. */
  result?: Result
  /** What it threw or rejected with; absent unless it has failed. */
  error?: unknown
  /** Present if it failed because the caller aborted it. */
  aborted?: true
}

/** One operation that somebody listens to. */
export class Trace<Context extends Traced<unknown>> {
  readonly #channel: TracingChannel<unknown, Context>
  /** What its listeners get. What becomes known on the way is added to it. */
  readonly context: Context

  /** @internal */
  constructor(channel: TracingChannel<unknown, Context>, context: Context) {
    this.#channel = channel
    this.context = context
  }

  /** The operation went well, some time after the call. */
  succeeded(result: Context['result']): void {
    this.context.result = result
    this.#settled()
  }

  /** The operation failed, some time after the call. */
  failed(error: unknown, aborted: boolean): void {
    this.threw(error, aborted)
    this.#settled()
  }

  /** @internal The call itself failed. */
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
 * The channels of one kind of operation. There is one of these per kind, made when its module is
 * loaded, so that listeners and operations meet.
 */
export class Tracer<Context extends Traced<unknown>> {
  readonly #channel: TracingChannel<unknown, Context>

  /** @param operation - such as `'snapshot'`. */
  constructor(operation: string) {
    this.#channel = tracingChannel<unknown, Context>(`stillframe.${operation}`)
  }

  /**
   * Runs `run` between `start` and `end`, in the async context that stores bound to `start` have
   * asked for. What it throws is also an `error`. If the operation goes on after the call, `run`
   * hands the trace to whoever sees its end, and that calls `succeeded()` or `failed()` once.
   *
   * Without listeners at the call there is neither a context nor a trace, to the end.
   *
   * @param contextOf - makes the context.
   * @param signal - the caller's: what was thrown because of it counts as aborted.
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
  /** Directory of the archive, absolute, or its name at its store. */
  archive: string
}

const skippedTicks = channel('stillframe.schedule.skipped')

/** A schedule leaves out a capture, since the one before has not ended. */
export function tellSkippedTick(archive: string): void {
  if (skippedTicks.hasSubscribers) skippedTicks.publish({ archive } satisfies SkippedTick)
}
