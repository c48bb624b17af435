/**
 * A heap snapshot of a running service at a signal, without a change to its code:
 *
 *   node --import stillframe/heap/signal app.js
 *   kill -USR2 <pid>
 *
 * Settings are environment variables:
 *
 *   STILLFRAME_HEAP_SIGNAL   the signal; default SIGUSR2
 *   STILLFRAME_HEAP_DIR      where the files go; default: the working directory at the start
 *   STILLFRAME_HEAP_KEEP     how many of this process's files are kept; the oldest go first; default 5
 *
 * What happens is told in one line each on stderr. A failure never harms the service.
 */

import { readdirSync, unlinkSync } from 'node:fs'
import { constants } from 'node:os'
import { join, resolve } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { loadHeapAddon } from './addon.js'
import { writeHeapSnapshot } from './index.js'

/** Read at the start: the service may change its working directory later. */
const settings = {
  signal: process.env['STILLFRAME_HEAP_SIGNAL'] ?? 'SIGUSR2',
  directory: resolve(process.env['STILLFRAME_HEAP_DIR'] ?? '.'),
  keep: Number(process.env['STILLFRAME_HEAP_KEEP'] ?? 5),
}

const say = (text: string): void => {
  process.stderr.write(`stillframe: ${text}\n`)
}

let running = false

function onSignal(): void {
  if (running) {
    say('a heap snapshot is being written already')
    return
  }
  running = true
  void takeOne()
    .catch((error: unknown) =>
      say(`no heap snapshot: ${error instanceof Error ? error.message : String(error)}`),
    )
    .finally(() => {
      running = false
    })
}

async function takeOne(): Promise<void> {
  const stamp = new Date().toISOString().replaceAll(':', '-')
  const job = writeHeapSnapshot(join(settings.directory, `${prefix()}${stamp}.heapsnapshot`))
  say(`writing a heap snapshot; the service stood still for ${job.pauseMs.toFixed(1)} ms`)
  const { path, fileSize, durationMs } = await job.done
  say(`${path}: ${(fileSize / 2 ** 20).toFixed(1)} MiB after ${(durationMs / 1000).toFixed(1)} s`)
  removeOld()
}

/** Only files of this process are its to remove. */
const prefix = (): string => `heap-${process.pid}-`

function removeOld(): void {
  const own = readdirSync(settings.directory).filter(
    (name) => name.startsWith(prefix()) && name.endsWith('.heapsnapshot'),
  )
  // Their names are in the order of time.
  for (const name of own.sort().slice(0, -settings.keep)) unlinkSync(join(settings.directory, name))
}

function install(): void {
  const { signal, keep } = settings
  if (!(signal in constants.signals))
    throw new RangeError(`STILLFRAME_HEAP_SIGNAL: there is no signal '${signal}'`)
  if (!Number.isInteger(keep) || keep < 1) {
    throw new RangeError(
      `STILLFRAME_HEAP_KEEP must be an integer from 1 on, not '${process.env['STILLFRAME_HEAP_KEEP']}'`,
    )
  }
  // Now, so that a missing addon is told at the start and not in need; and not at the price of the start.
  try {
    loadHeapAddon()
  } catch (error) {
    say(`no heap snapshots at ${signal}: ${error instanceof Error ? error.message : String(error)}`)
    return
  }
  process.on(signal as NodeJS.Signals, onSignal)
}

// Workers inherit --import; a signal is for the process.
if (isMainThread) install()
