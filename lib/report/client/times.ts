/** Formats times for people, in UTC, as the retention rules use it. */

const second = 1000
const minute = 60 * second
const hour = 60 * minute
const day = 24 * hour

/** Steps of a time axis, each a round number of a smaller unit. */
const steps = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500],
  ...[1, 2, 5, 10, 15, 30].map((count) => count * second),
  ...[1, 2, 5, 10, 15, 30].map((count) => count * minute),
  ...[1, 2, 3, 6, 12].map((count) => count * hour),
  ...[1, 2, 7, 14, 28, 91, 182, 365, 730, 3650].map((count) => count * day),
]

/** The smallest step that is at least this long. */
export function stepOf(ms: number): number {
  return steps.find((step) => step >= ms) ?? 36500 * day
}

/** The time of day to the precision of a step, or the date for steps of a day or longer. */
export function formatTick(at: number, step: number): string {
  if (step >= day) return formatDay(at)
  const iso = isoOf(at)
  if (step < second) return iso.slice(11, 23)
  return step < minute ? iso.slice(11, 19) : iso.slice(11, 16)
}

/** For example `2026-11-30`. */
export function formatDay(at: number): string {
  return isoOf(at).slice(0, 10)
}

/** To the millisecond. */
export function formatInstant(at: number): string {
  return `${isoOf(at).slice(0, 23).replace('T', ' ')} UTC`
}

/** To the second. */
export function formatShort(at: number): string {
  return isoOf(at).slice(0, 19).replace('T', ' ')
}

/** A time outside Date's range must not break the page. */
function isoOf(at: number): string {
  const date = new Date(at)
  return Number.isNaN(date.getTime()) ? '????-??-??T??:??:??.???' : date.toISOString()
}
