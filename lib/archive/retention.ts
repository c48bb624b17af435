/**
 * Decides which frames to keep, and why. This is a pure function of the frames and the rules.
 *
 * The rules are restic's. A frame is kept if at least one rule asks for it. Hours, days and weeks
 * (ISO 8601, from Monday on) are in UTC, so that an archive keeps the same frames when it is read
 * in another time zone, or in summer.
 */

/** The facts that decide about a frame. */
export interface RetentionFrame {
  readonly number: number
  /** Milliseconds since the epoch. */
  readonly frozenAtMs: number
  /** False if the frame cannot be restored. Rules ignore such a frame. */
  readonly whole: boolean
}

/** The rules. A missing rule keeps nothing. */
export interface RetentionRules {
  readonly last?: number
  readonly hourly?: number
  readonly daily?: number
  readonly weekly?: number
  readonly within?: { readonly ms: number; readonly text: string }
}

type Bucket = 'hourly' | 'daily' | 'weekly'

const nameOf: Record<Bucket, (frozenAtMs: number) => string> = {
  hourly: (at) => new Date(at).toISOString().slice(0, 13),
  daily: (at) => new Date(at).toISOString().slice(0, 10),
  weekly: (at) => isoWeek(at),
}

const dayMs = 86_400_000

/** Such as `'2026-W49'`. A week belongs to the year of its Thursday. */
function isoWeek(at: number): string {
  const weekday = (new Date(at).getUTCDay() + 6) % 7
  const thursday = new Date(at + (3 - weekday) * dayMs)
  const dayOfYear = Math.floor((thursday.getTime() - Date.UTC(thursday.getUTCFullYear(), 0, 1)) / dayMs)
  return `${thursday.getUTCFullYear()}-W${String(Math.floor(dayOfYear / 7) + 1).padStart(2, '0')}`
}

/**
 * The frames to keep, by number, each with the reasons. All other frames may be pruned.
 *
 * The newest frame always stays, since the numbers of the next frames follow from it, and so does
 * the newest intact one. A damaged frame stays until all frames that are kept are newer, because it
 * may be all that is left of its time.
 *
 * @param rules - undefined to keep everything.
 */
export function keptFrames(
  frames: readonly RetentionFrame[],
  rules: RetentionRules | undefined,
): Map<number, string[]> {
  const kept = new Map<number, string[]>()
  const keep = ({ number }: RetentionFrame, reason: string): void => {
    kept.set(number, [...(kept.get(number) ?? []), reason])
  }
  const newestFirst = [...frames].sort((a, b) => b.number - a.number)
  const whole = newestFirst.filter((frame) => frame.whole)
  const [newest] = newestFirst
  const [newestWhole] = whole
  if (newest !== undefined) keep(newest, 'newest')
  if (newestWhole !== undefined && newestWhole !== newest) keep(newestWhole, 'newest whole')
  if (rules === undefined) {
    for (const frame of frames) keep(frame, 'no retention')
    return kept
  }
  keepLast(whole, rules.last, keep)
  keepWithin(whole, rules.within, keep)
  for (const bucket of ['hourly', 'daily', 'weekly'] as const) keepBuckets(whole, bucket, rules[bucket], keep)
  const oldest = Math.min(...whole.map(({ number }) => number).filter((number) => kept.has(number)))
  for (const frame of frames) if (!frame.whole && frame.number > oldest) keep(frame, 'damaged')
  if (newestWhole === undefined) for (const frame of frames) keep(frame, 'damaged')
  return kept
}

type Keep = (frame: RetentionFrame, reason: string) => void

function keepLast(newestFirst: readonly RetentionFrame[], count: number | undefined, keep: Keep): void {
  for (const frame of newestFirst.slice(0, count ?? 0)) keep(frame, `last ${count}`)
}

/**
 * Keeps all frames that are less than the window older than the newest one, and the next older
 * frame, so that there is a frame at or before each instant of the window.
 */
function keepWithin(
  newestFirst: readonly RetentionFrame[],
  within: RetentionRules['within'],
  keep: Keep,
): void {
  const [newest] = newestFirst
  if (within === undefined || newest === undefined) return
  const start = newest.frozenAtMs - within.ms
  for (const frame of newestFirst) if (frame.frozenAtMs > start) keep(frame, `within ${within.text}`)
  let edge: RetentionFrame | undefined
  for (const frame of newestFirst) {
    if (frame.frozenAtMs <= start && (edge === undefined || frame.frozenAtMs > edge.frozenAtMs)) edge = frame
  }
  if (edge !== undefined) keep(edge, 'older than the window')
}

/** Keeps the newest frame of each of the last `count` hours, days or weeks that have a frame. */
function keepBuckets(
  newestFirst: readonly RetentionFrame[],
  bucket: Bucket,
  count: number | undefined,
  keep: Keep,
): void {
  const seen = new Set<string>()
  for (const frame of newestFirst) {
    if (seen.size === (count ?? 0)) return
    const name = nameOf[bucket](frame.frozenAtMs)
    if (seen.has(name)) continue
    seen.add(name)
    keep(frame, `${bucket} ${name}`)
  }
}
