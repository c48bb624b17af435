/**
 * Writes a heap snapshot of a running service on a signal, or when it uses too much memory, without
 * a change to its code:
 *
 * ```sh
 * STILLFRAME_HEAP_AT=near-heap-limit,cgroup:85% node --import stillframe/heap/signal app.js
 * kill -USR2 <pid>
 * ```
 *
 * The settings are environment variables, read once at startup:
 *
 * - `STILLFRAME_HEAP_SIGNAL`: `SIGUSR2` (default), `SIGUSR1` or `SIGPWR`.
 * - `STILLFRAME_HEAP_DIR`: the directory of the files, which must exist. Default: the working
 *   directory at startup.
 * - `STILLFRAME_HEAP_AT`: the triggers of `watchMemory()`, separated by commas: `near-heap-limit`;
 *   `heap:1.5GiB` or `heap:80%` (in use after a garbage collection); `rss:2GiB`; `cgroup:85%`;
 *   `pressure:20%`. Default: none. `near-heap-limit` and `heap` are also watched in each Worker.
 * - `STILLFRAME_HEAP_STABLE_IDS`: with `1`, objects keep their ids from file to file, at a price;
 *   see `stableIds` of `writeHeapSnapshot()`.
 * - `STILLFRAME_HEAP_REDACT`: with `1`, the files omit the contents of strings.
 * - `STILLFRAME_HEAP_KEEP`: number of this process's most recent files to keep. Default 5.
 *
 * The files are named `heap-<pid>-<time in UTC>.heapsnapshot` and show the heap of the main thread.
 * Reports go to stderr, in lines that begin with `stillframe: `. No failure harms the service: an
 * invalid setting is reported and replaced by its default, and the signal is always caught, since
 * otherwise it would end the process.
 *
 * @module stillframe/heap/signal
 */

import { accessSync, constants, unlinkSync, writeSync } from 'node:fs'
import { join, resolve } from 'node:path'
import process from 'node:process'
import { isMainThread } from 'node:worker_threads'
import { loadHeapAddon } from '../addon/heap-addon.js'
import { messageOf } from '../base/errors.js'
import { type ForkJob, watchMemory, writeHeapSnapshot } from './index.js'
import { parseTriggers } from './triggers.js'

/**
 * Signals that mean nothing else to Node or the kernel. A listener for a terminating signal
 * (SIGTERM, SIGHUP) would keep the service from ending; a listener for a fault (SIGSEGV) would
 * repeat the fault forever.
 */
const usableSignals: readonly string[] = ['SIGUSR2', 'SIGUSR1', 'SIGPWR']

const defaultKeep = 5

interface Settings {
  readonly signal: NodeJS.Signals
  readonly directory: string
  readonly keep: number
  readonly stableIds: boolean
  readonly redact: boolean
  /** Raw value of the environment variable; '' if unset. */
  readonly watchFor: string
}

/**
 * Writes to stderr directly: an error of process.stderr, such as a closed pipe, would end the
 * service.
 */
function say(text: string): void {
  try {
    writeSync(2, `stillframe: ${text.replaceAll('\n', ' ')}\n`)
  } catch {
    // The report is best effort.
  }
}

/** Workers read the same variables, so only the main thread reports problems. */
function readSettings(env: NodeJS.ProcessEnv): Settings {
  const report = isMainThread ? say : (): void => {}
  const signal = env['STILLFRAME_HEAP_SIGNAL'] || 'SIGUSR2'
  const usable = usableSignals.includes(signal)
  if (!usable) {
    report(`STILLFRAME_HEAP_SIGNAL: '${signal}' is not one of ${usableSignals.join(', ')}; SIGUSR2 is used`)
  }
  const keep = Number(env['STILLFRAME_HEAP_KEEP'] || defaultKeep)
  const countable = Number.isSafeInteger(keep) && keep >= 1
  if (!countable) {
    report(
      `STILLFRAME_HEAP_KEEP: '${env['STILLFRAME_HEAP_KEEP']}' is not an integer of at least 1; ` +
        `${defaultKeep} is used`,
    )
  }
  return {
    signal: usable ? (signal as NodeJS.Signals) : 'SIGUSR2',
    directory: absolute(env['STILLFRAME_HEAP_DIR'] || '.'),
    keep: countable ? keep : defaultKeep,
    stableIds: env['STILLFRAME_HEAP_STABLE_IDS'] === '1',
    redact: env['STILLFRAME_HEAP_REDACT'] === '1',
    watchFor: env['STILLFRAME_HEAP_AT'] ?? '',
  }
}

/** Resolves the path now, since the service may change its working directory later. */
function absolute(directory: string): string {
  try {
    return resolve(directory)
  } catch {
    // The working directory has been removed.
    return directory
  }
}

/**
 * Reports at startup, rather than at the first signal, anything that would make every snapshot
 * fail.
 */
function foretell({ signal, directory }: Settings): void {
  try {
    loadHeapAddon()
    accessSync(directory, constants.W_OK | constants.X_OK)
  } catch (error) {
    say(`${signal} cannot currently write a heap snapshot: ${messageOf(error)}`)
  }
  if (signal === 'SIGUSR1') say('SIGUSR1 writes a heap snapshot, and does not start the inspector')
}

function install(settings: Settings): void {
  // This process may remove only the files that it has written itself: process ids are reused, in
  // containers at every start.
  const written: string[] = []
  let running = false

  const takeOne = async (): Promise<void> => {
    const stamp = new Date().toISOString().replaceAll(':', '-')
    const name = `heap-${process.pid}-${stamp}.heapsnapshot`
    const job = writeHeapSnapshot(join(settings.directory, name), {
      overwrite: false,
      stableIds: settings.stableIds,
      redact: settings.redact,
    })
    const atOnce = job.frozenAt !== undefined
    say(
      atOnce
        ? `writing a heap snapshot; ${stoodStill(job)}`
        : "V8's threads are busy; the heap snapshot will be taken as soon as they are not",
    )
    const { path, fileSize, durationMs } = await job.done
    const size = `${(fileSize / 2 ** 20).toFixed(1)} MiB after ${(durationMs / 1000).toFixed(1)} s`
    say(`${path}: ${size}${atOnce ? '' : `; ${stoodStill(job)}`}`)
    written.push(path)
    for (const old of written.splice(0, written.length - settings.keep)) remove(old)
  }

  const onSignal = (): void => {
    if (running) {
      say('a heap snapshot is already being written; the signal is ignored')
      return
    }
    running = true
    takeOne()
      .catch((error: unknown) => say(`no heap snapshot: ${messageOf(error)}`))
      .finally(() => {
        running = false
      })
  }
  process.on(settings.signal, onSignal)
}

function stoodStill({ pauseMs }: ForkJob): string {
  return `the service was paused for ${pauseMs.toFixed(1)} ms`
}

function remove(path: string): void {
  try {
    unlinkSync(path)
  } catch (error) {
    // The file may have been moved or removed already.
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') say(`${path} stays: ${messageOf(error)}`)
  }
}

/** RSS, cgroup and pressure concern the whole process, so only the main thread watches them. */
function watch({ watchFor, directory, keep, redact }: Settings): void {
  const { options, problems } = parseTriggers(watchFor)
  if (isMainThread) for (const problem of problems) say(`STILLFRAME_HEAP_AT: ${problem}`)
  if (options === undefined) return
  const { nearHeapLimit, heapUsedBytes, heapUsedPercent } = options
  const ofThread = { nearHeapLimit, heapUsedBytes, heapUsedPercent }
  if (!isMainThread && nearHeapLimit !== true && (heapUsedBytes ?? heapUsedPercent) === undefined) return
  try {
    watchMemory({ directory, keep, redact, ...(isMainThread ? options : ofThread) })
  } catch (error) {
    say(`memory is not watched: ${messageOf(error)}`)
  }
}

// Workers inherit --import, but a signal is for the whole process.
const settings = readSettings(process.env)
if (isMainThread) {
  install(settings)
  foretell(settings)
}
watch(settings)
