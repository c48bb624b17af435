/** The few numbers and sentences at the beginning of a report. */

import { count, formatBytes, formatMs, formatNumber } from '../base/units.js'
import type { ReportData, ReportFrame } from './data.js'

/** A number that is shown prominently, with its label and a remark. */
export interface KeyFigure {
  label: string
  value: string
  remark: string
}

/** The result at a glance: whether all is well and, if not, what is wrong. */
export interface Verdict {
  good: boolean
  title: string
  text: string
}

const looked = {
  listed: 'This is what the manifest of the archive says; its files were not fetched.',
  opened:
    'Every file was opened with all that it builds on, and its index and sums were checked; the pages were not read.',
  verified: 'Every byte of every frame was read and checked.',
} as const

/** The verdict on a place. */
export function verdictOf({ frames, checked }: ReportData): Verdict {
  const damaged = frames.filter(({ damage }) => damage !== undefined)
  if (damaged.length === 0) {
    const title = checked === 'listed' ? 'Not checked' : frames.length === 1 ? 'No damage' : 'No damage found'
    return { good: true, title, text: looked[checked] }
  }
  const newestWhole = frames.findLast(({ damage }) => damage === undefined)
  const newest = newestWhole === undefined ? 'No frame' : `The newest that can is ${newestWhole.name}`
  return {
    good: false,
    title: `${count(damaged.length, 'frame')} cannot be restored`,
    text:
      newestWhole === undefined
        ? 'No frame here can be restored.'
        : `${newest}, of ${formatInstant(newestWhole.frozenAt)}.`,
  }
}

/** The key figures of a place; empty if it has no frames. */
export function keyFigures({ frames, madeAt }: ReportData): KeyFigure[] {
  const [oldest, newest] = [frames.at(0), frames.at(-1)]
  if (oldest === undefined || newest === undefined) return []
  const deltas = frames.filter(({ kind }) => kind === 'delta').length
  const span = newest.frozenAt.getTime() - oldest.frozenAt.getTime()
  return [
    {
      label: 'Frames',
      value: count(frames.length, 'frame').replace(/ .*/, ''),
      remark: `${frames.length - deltas} full, ${count(deltas, 'delta')}`,
    },
    {
      label: 'Newest',
      value: `${formatSpan(madeAt.getTime() - newest.frozenAt.getTime())} ago`,
      remark: frames.length > 1 ? `the oldest ${formatSpan(span)} before it` : formatInstant(newest.frozenAt),
    },
    memoryFigure(frames),
    diskFigure(frames),
    ...pauseFigure(frames),
  ]
}

function memoryFigure(frames: readonly ReportFrame[]): KeyFigure {
  const newest = frames.findLast(({ byteLength }) => byteLength !== undefined)
  return {
    label: 'Memory',
    value: newest?.byteLength === undefined ? '–' : formatBytes(newest.byteLength),
    remark: newest === undefined ? 'unknown' : `in ${count(newest.sections.length, 'section')}`,
  }
}

function diskFigure(frames: readonly ReportFrame[]): KeyFigure {
  const stored = frames.reduce((sum, { fileSize }) => sum + fileSize, 0)
  const whole = frames.reduce((sum, { byteLength = 0 }) => sum + byteLength, 0)
  const times = stored === 0 ? 0 : whole / stored
  return {
    label: 'On disk',
    value: formatBytes(stored),
    remark:
      times >= 1.1
        ? `instead of ${formatBytes(whole)}: ${formatNumber(times)} × less`
        : 'all frames together',
  }
}

function pauseFigure(frames: readonly ReportFrame[]): KeyFigure[] {
  const pauses = frames
    .flatMap(({ pauseMs }) => (pauseMs === undefined ? [] : [pauseMs]))
    .sort((a, b) => a - b)
  const [longest, median] = [pauses.at(-1), pauses[Math.floor(pauses.length / 2)]]
  if (longest === undefined || median === undefined) return []
  return [
    {
      label: 'Pause of the service',
      value: `${formatMs(median)} ms`,
      remark: pauses.length === 1 ? 'one frame' : `median; the longest ${formatMs(longest)} ms`,
    },
  ]
}

/** To the second, in UTC. */
export function formatInstant(date: Date): string {
  return `${date.toISOString().slice(0, 19).replace('T', ' ')} UTC`
}

const units: readonly [name: string, ms: number][] = [
  ['day', 86_400_000],
  ['hour', 3_600_000],
  ['minute', 60_000],
  ['second', 1000],
]

/** In a suitable unit: `3 days`, `1 hour`. */
export function formatSpan(ms: number): string {
  const [name, length] = units.find(([, length]) => ms >= 1.5 * length) ?? ['second', 1000]
  return count(Math.max(0, Math.round(ms / length)), name)
}
