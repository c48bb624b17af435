/** The demo's results, as tables for people. */

import type { Io } from '../io.js'
import { type Column, renderTable, wrap } from '../table.js'
import { formatBytes, formatCount, formatMs } from '../units.js'
import type { Measurement } from './measure.js'
import type { ServiceReport } from './service.js'

/**
 * Factors by which a method beats the naive one: above 1 is better, undefined if the divisor is 0.
 */
export interface Ratios {
  pause: number | undefined
  duration: number | undefined
  extraMemory: number | undefined
  eventLoopMax: number | undefined
  firstRead: number | undefined
}

/** Divides the naive method's figures by those of `way`. */
export function ratiosTo(naive: Measurement, way: Measurement): Ratios {
  const divide = (theirs: number, ours: number): number | undefined => (ours > 0 ? theirs / ours : undefined)
  return {
    pause: divide(naive.pauseMs, way.pauseMs),
    duration: divide(naive.durationMs, way.durationMs),
    extraMemory: divide(naive.extraBytes, way.extraBytes),
    eventLoopMax: divide(naive.service.eventLoopMaxMs, way.service.eventLoopMaxMs),
    firstRead: divide(naive.firstReadMs, way.firstReadMs),
  }
}

const columns: readonly Column[] = [
  { title: 'way', align: 'left' },
  { title: 'pause\nms', align: 'right' },
  { title: 'duration\nms', align: 'right' },
  { title: '\nMB/s', align: 'right', optional: 2 },
  { title: 'extra\nmemory', align: 'right' },
  { title: 'loop delay\np99 ms', align: 'right', optional: 3 },
  { title: 'loop delay\nmax ms', align: 'right' },
  { title: 'first restore\nread ms', align: 'right', optional: 1 },
  { title: '\nverified', align: 'left' },
]

/** The table of all methods, with the service alone first. */
export function figuresTable(
  alone: ServiceReport,
  measurements: readonly Measurement[],
  { style, tableWidth }: Io,
): string[] {
  const none = '–'
  const loop = (report: ServiceReport): string[] => [
    formatMs(report.eventLoopP99Ms),
    formatMs(report.eventLoopMaxMs),
  ]
  return renderTable(
    columns,
    [
      ['service alone', none, none, none, none, ...loop(alone), none, ''].map(style.dim),
      ...measurements.map((measurement) => [
        style.bold(measurement.way),
        formatMs(measurement.pauseMs),
        formatMs(measurement.durationMs),
        formatCount(measurement.megabytesPerSecond),
        formatBytes(measurement.extraBytes),
        ...loop(measurement.service),
        formatMs(measurement.firstReadMs),
        measurement.verified ? style.good('✓ every byte') : style.bad('✗ DIFFERS'),
      ]),
    ],
    style.dim,
    tableWidth,
  )
}

/** The ratios of all methods to the naive one. */
export function ratiosTable(
  naive: Measurement,
  ways: readonly Measurement[],
  { style, tableWidth }: Io,
): string[] {
  const times = (ratio: number | undefined, better: string, worse: string): string => {
    if (ratio === undefined) return 'none at all'
    return ratio >= 1 ? `${formatRatio(ratio)}x ${better}` : `${formatRatio(1 / ratio)}x ${worse}`
  }
  return renderTable(
    [
      { title: `against "${naive.way}"`, align: 'left' },
      { title: 'pause', align: 'right' },
      { title: 'duration', align: 'right', optional: 2 },
      { title: 'extra memory', align: 'right' },
      { title: 'longest delay', align: 'right' },
      { title: 'first read', align: 'right', optional: 1 },
    ],
    ways.map((way) => {
      const ratios = ratiosTo(naive, way)
      return [
        style.bold(way.way),
        style.good(times(ratios.pause, 'shorter', 'longer')),
        times(ratios.duration, 'shorter', 'longer'),
        times(ratios.extraMemory, 'less', 'more'),
        times(ratios.eventLoopMax, 'shorter', 'longer'),
        times(ratios.firstRead, 'sooner', 'later'),
      ]
    }),
    style.dim,
    tableWidth,
  )
}

function formatRatio(ratio: number): string {
  return ratio >= 10 ? formatCount(ratio) : ratio.toFixed(1)
}

/** Explains the figures, which mean little without it. */
export function footnotes(measurements: readonly Measurement[], io: Io): string[] {
  const rates = measurements
    .map(({ way, service }) => {
      const pages = formatCount(service.pagesChanged)
      return `${way} ${pages} pages at ${formatCount(service.writesPerSecond)} writes/s`
    })
    .join('; ')
  const allRight = measurements.every(({ verified }) => verified)
  return [
    'Pause: how long the call kept the event loop from running anything else, timed around the call.',
    'Duration: from the call until the file is complete and fsynced. MB/s: bytes of memory divided by the ' +
      'duration.',
    'Loop delay: delay of the event loop, including the pause; p99 of 1 ms samples, max of turns 1 ms apart.',
    'First restore read: from opening the file to reading a byte in its middle. stillframe maps the file ' +
      '(verify: false), the naive way reads all of it. The page cache is as saving left it.',
    'Verified: each file was read back, by stillframe both mapped and copied with its checksums, and ' +
      'compared byte for byte with a copy of the memory made at the call. Making that copy is not timed.',
    `Changed after the freeze${allRight ? ', and none of it in the files' : ''}: ${rates}.`,
  ].flatMap((note) => wrap(note, io.width, '  '))
}
