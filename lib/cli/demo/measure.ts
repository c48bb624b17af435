/** Runs one way of saving under load, reads the file back, and compares it with the truth. */

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Region } from '../../index.js'
import type { Io } from '../io.js'
import { copyAll, firstDifference } from './memory.js'
import type { Service, ServiceReport } from './service.js'
import type { Reopened, Reopening, Way } from './way.js'

/** How long the service runs before the freeze, so that it is in full swing by then. */
const runUpMs = 200
/** How long the service alone is measured, for comparison. */
const aloneMs = 1000

/** The stage that every way performs on: the same memory, the same load, the same truth. */
export interface Stage {
  region: Region
  /** Receives the truth: a copy made at the call. */
  oracle: Region
  service: Service
  io: Io
}

/** A file read back and compared. */
export interface Comparison {
  /** How the file was read back: `'map'`, `'copy'`, `'read'`. */
  reopening: string
  /** From the call to the first byte read. */
  firstReadMs: number
  equal: boolean
  /** Where the first wrong byte is; undefined when there is none. */
  firstDifference: number | undefined
}

/** What one way cost, and whether its file is right. */
export interface Measurement {
  way: string
  engine: string | undefined
  pauseMs: number
  durationMs: number
  megabytesPerSecond: number
  extraBytes: number
  fileSize: number
  service: ServiceReport
  comparisons: Comparison[]
  firstReadMs: number
  verified: boolean
}

/** Measures the service with nothing else going on. */
export async function measureAlone({ service, io }: Stage): Promise<ServiceReport> {
  service.start()
  try {
    await sleep(runUpMs, undefined, { signal: io.signal })
    service.beginMeasuring()
    await sleep(aloneMs, undefined, { signal: io.signal })
    return service.endMeasuring()
  } finally {
    service.stop()
  }
}

/** Saves the memory in one way to `path` while the service runs on, then proves the file. */
export async function measure(way: Way, path: string, stage: Stage): Promise<Measurement> {
  const { region, oracle, service, io } = stage
  const bar = io.progress(`${way.name}: saving`, region.byteLength)
  service.start()
  let pauseMs: number
  let durationMs: number
  let saved: { extraBytes: number; fileSize: number }
  let report: ServiceReport
  try {
    await sleep(runUpMs, undefined, { signal: io.signal })
    await way.beforeCall?.()
    // From here to the end of save() no other code runs, so the oracle is the memory at the call.
    // Making it is the demo's business and belongs to no pause: the clocks start behind it.
    copyAll(region.buffer, oracle.buffer)
    service.beginMeasuring()
    const begunMs = performance.now()
    const saving = way.save(path, io.signal, (bytesDone) => bar.update(bytesDone))
    pauseMs = performance.now() - begunMs
    saved = await saving.done
    durationMs = performance.now() - begunMs
    report = service.endMeasuring()
  } finally {
    service.stop()
    bar.stop()
  }
  const comparisons = await compareAll(way, path, stage)
  return {
    way: way.name,
    engine: way.engine,
    pauseMs,
    durationMs,
    megabytesPerSecond: region.byteLength / 1e6 / (durationMs / 1000),
    ...saved,
    service: report,
    comparisons,
    firstReadMs: comparisons[0]?.firstReadMs ?? Number.NaN,
    verified: comparisons.length > 0 && comparisons.every(({ equal }) => equal),
  }
}

/**
 * Reads the file back in every way it can be, one after the other: there is memory for one copy
 * only.
 */
async function compareAll(way: Way, path: string, stage: Stage): Promise<Comparison[]> {
  const comparisons: Comparison[] = []
  for (const reopening of way.reopenings) comparisons.push(await compare(way, reopening, path, stage))
  return comparisons
}

async function compare(way: Way, { name, open }: Reopening, path: string, stage: Stage): Promise<Comparison> {
  const { oracle, io } = stage
  const readingBar = io.progress(`${way.name}: reading back (${name})`, oracle.byteLength)
  let firstReadMs: number
  let reopened: Reopened
  try {
    const begunMs = performance.now()
    reopened = await open(path, io.signal, (bytesDone) => readingBar.update(bytesDone))
    // Somewhere in the middle: mapped memory is read from the file at this moment.
    touch(reopened.buffer, Math.floor(reopened.buffer.byteLength / 2))
    firstReadMs = performance.now() - begunMs
  } finally {
    readingBar.stop()
  }
  const bar = io.progress(`${way.name}: comparing (${name})`, oracle.byteLength)
  try {
    const difference = await firstDifference(oracle.buffer, reopened.buffer, io.signal, (bytesDone) =>
      bar.update(bytesDone),
    )
    return { reopening: name, firstReadMs, equal: difference === undefined, firstDifference: difference }
  } finally {
    bar.stop()
    await reopened.close()
  }
}

/** Reads one byte; a byte outside the buffer would mean that the file lost its end. */
function touch(buffer: ArrayBuffer, offset: number): void {
  if (offset < buffer.byteLength) new Uint8Array(buffer, offset, 1).at(0)
}
