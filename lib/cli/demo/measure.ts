/** Runs one method under load, reads the file back, and compares it with the oracle. */

import { performance } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Region } from '../../index.js'
import type { Io } from '../io.js'
import { copyAll, firstDifference } from './memory.js'
import type { Service, ServiceReport } from './service.js'
import type { Reopened, Reopening, Way } from './way.js'

/** Time that the service runs before the freeze, to reach its steady state. */
const runUpMs = 200
/** Time for which the service is measured alone, for comparison. */
const aloneMs = 1000

/** The conditions shared by all methods: the same memory, load and oracle. */
export interface Stage {
  region: Region
  /** Receives the expected contents: a copy made at the call. */
  oracle: Region
  service: Service
  io: Io
}

/** A file read back and compared. */
export interface Comparison {
  /** The method of reading: `'map'`, `'copy'`, `'read'`. */
  reopening: string
  /** Time from the call to the first byte read. */
  firstReadMs: number
  equal: boolean
  /** Offset of the first wrong byte; undefined if there is none. */
  firstDifference: number | undefined
}

/** The cost of one method, and whether its file is correct. */
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

/** Measures the service while nothing else is running. */
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

/**
 * Saves the memory to `path` with one method while the service keeps running, then verifies the
 * file.
 */
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
    // From here to the end of save() no other code runs, so the oracle equals the memory at the
    // call. Making the oracle is the demo's own work and not part of the pause: the clocks start
    // after it.
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
 * Reads the file back with every reopening method, one after the other, since there is memory for
 * only one copy.
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
    // A byte in the middle, which a mapping reads from the file only now.
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

/** Reads one byte. If the file lost its end, the byte is outside the buffer and is not read. */
function touch(buffer: ArrayBuffer, offset: number): void {
  if (offset < buffer.byteLength) new Uint8Array(buffer, offset, 1).at(0)
}
