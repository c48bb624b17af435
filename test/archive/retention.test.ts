/**
 * Promise: retention keeps what the same terms mean in restic, with a reason for each frame; it
 * never prunes the newest frame, the newest whole frame, or the one older than the window; and it
 * does not count damaged frames. Proved with tables of frames, and by checking invariants on random
 * histories.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { checkDuration, checkRetention } from '../../lib/archive/options.js'
import { keptFrames, type RetentionFrame, type RetentionRules } from '../../lib/archive/retention.js'
import { thrownBy } from '../support/expect-error.js'
import { seeded, testSeed } from '../support/random.mjs'

const hour = 3_600_000
const day = 24 * hour

/** Frames with these times, numbered from 1; a leading `!` means damaged. */
function framesAt(...times: string[]): RetentionFrame[] {
  return times.map((text, index) => ({
    number: index + 1,
    frozenAtMs: Date.parse(text.replace('!', '')),
    whole: !text.startsWith('!'),
  }))
}

function kept(frames: RetentionFrame[], rules: RetentionRules): Record<number, string> {
  return Object.fromEntries(
    [...keptFrames(frames, rules)].map(([number, reasons]) => [number, reasons.join(', ')]),
  )
}

describe('tables', () => {
  test('last', () => {
    const frames = framesAt('2026-11-30T10:00Z', '2026-11-30T11:00Z', '2026-11-30T12:00Z')
    expect(kept(frames, { last: 2 })).toEqual({ 2: 'last 2', 3: 'newest, last 2' })
    expect(kept(frames, { last: 9 })).toEqual({ 1: 'last 9', 2: 'last 9', 3: 'newest, last 9' })
    expect(kept([], { last: 1 })).toEqual({})
  })

  test('hourly: the newest of each of the last hours that have one', () => {
    const frames = framesAt(
      '2026-11-30T08:10Z',
      '2026-11-30T08:50Z',
      '2026-11-30T11:05Z',
      '2026-11-30T12:10Z',
      '2026-11-30T12:59:59.999Z',
    )
    expect(kept(frames, { hourly: 3 })).toEqual({
      2: 'hourly 2026-11-30T08',
      3: 'hourly 2026-11-30T11',
      5: 'newest, hourly 2026-11-30T12',
    })
    expect(kept(frames, { hourly: 1 })).toEqual({ 5: 'newest, hourly 2026-11-30T12' })
  })

  test('daily: days are those of UTC', () => {
    const frames = framesAt(
      '2026-11-28T23:59:59Z',
      '2026-11-29T00:00Z',
      '2026-11-29T23:59:59.999Z',
      '2026-11-30T00:00Z',
    )
    expect(kept(frames, { daily: 2 })).toEqual({ 3: 'daily 2026-11-29', 4: 'newest, daily 2026-11-30' })
    expect(kept(frames, { daily: 3 })).toMatchObject({ 1: 'daily 2026-11-28' })
  })

  test('weekly: weeks begin on Monday, and belong to the year of their Thursday', () => {
    const frames = framesAt(
      '2025-12-28T12:00Z', // Sunday of W52
      '2025-12-29T00:00Z', // Monday of 2026-W01
      '2026-01-04T23:00Z', // its Sunday
      '2026-12-31T12:00Z', // Thursday of W53
      '2027-01-03T12:00Z', // its Sunday
      '2027-01-04T00:00Z', // Monday of W01
    )
    expect(kept(frames, { weekly: 9 })).toEqual({
      1: 'weekly 2025-W52',
      3: 'weekly 2026-W01',
      5: 'weekly 2026-W53',
      6: 'newest, weekly 2027-W01',
    })
  })

  test('within: all of the window, and one that is older', () => {
    const frames = framesAt(
      '2026-11-01T00:00Z',
      '2026-11-20T00:00Z',
      '2026-11-24T00:00Z',
      '2026-11-30T00:00Z',
    )
    expect(kept(frames, { within: { ms: 7 * day, text: '7d' } })).toEqual({
      2: 'older than the window',
      3: 'within 7d',
      4: 'newest, within 7d',
    })
    // A frame exactly at the border is the state at the beginning of the window.
    expect(kept(frames, { within: { ms: 6 * day, text: '6d' } })).toEqual({
      3: 'older than the window',
      4: 'newest, within 6d',
    })
  })

  test('rules add up', () => {
    const frames = framesAt(
      '2026-11-28T10:00Z',
      '2026-11-29T10:00Z',
      '2026-11-30T10:00Z',
      '2026-11-30T10:30Z',
    )
    expect(kept(frames, { last: 1, daily: 2 })).toEqual({
      2: 'daily 2026-11-29',
      4: 'newest, last 1, daily 2026-11-30',
    })
  })

  test('no rule counts on a damaged frame, which stays until all that are kept are newer', () => {
    const frames = framesAt(
      '2026-11-27T10:00Z',
      '2026-11-28T10:00Z',
      '!2026-11-29T10:00Z',
      '2026-11-30T10:00Z',
    )
    expect(kept(frames, { last: 2 })).toEqual({ 2: 'last 2', 3: 'damaged', 4: 'newest, last 2' })
    expect(kept(frames, { last: 1 })).toEqual({ 4: 'newest, last 1' })
  })

  test('the newest whole frame stays, however many damaged ones are newer', () => {
    const frames = framesAt(
      '2026-11-28T10:00Z',
      '2026-11-29T10:00Z',
      '!2026-11-30T10:00Z',
      '!2026-11-30T11:00Z',
    )
    expect(kept(frames, { last: 1 })).toEqual({
      2: 'newest whole, last 1',
      3: 'damaged',
      4: 'newest, damaged',
    })
    const none = framesAt('!2026-11-28T10:00Z', '!2026-11-29T10:00Z')
    expect(kept(none, { last: 1 })).toEqual({ 1: 'damaged', 2: 'newest, damaged' })
  })

  test('without rules everything is kept', () => {
    const frames = framesAt('2026-11-28T10:00Z', '2026-11-29T10:00Z')
    expect(Object.fromEntries(keptFrames(frames, undefined))).toEqual({
      1: ['no retention'],
      2: ['newest', 'no retention'],
    })
  })
})

describe(`random histories, seed ${testSeed}`, () => {
  const history = fc
    .array(
      fc.tuple(
        fc.integer({ min: 1, max: 40 * 3600 }),
        fc.integer({ min: 0, max: 7 }),
        fc.integer({ min: 1, max: 3 }),
      ),
      {
        minLength: 1,
        maxLength: 60,
      },
    )
    .map((steps) => {
      let number = 0
      let at = Date.parse('2026-01-01T00:00Z')
      return steps.map(([seconds, damage, gap]): RetentionFrame => {
        number += gap
        at += seconds * 1000
        return { number, frozenAtMs: at, whole: damage > 0 }
      })
    })
  const count = fc.option(fc.integer({ min: 1, max: 9 }), { nil: undefined })
  const policy = fc
    .record({
      last: count,
      hourly: count,
      daily: count,
      weekly: count,
      hours: fc.option(fc.integer({ min: 1, max: 400 }), { nil: undefined }),
    })
    .map(({ hours, ...counts }): RetentionRules => {
      const rules = Object.fromEntries(Object.entries(counts).filter(([, value]) => value !== undefined))
      return hours === undefined ? rules : { ...rules, within: { ms: hours * hour, text: `${hours}h` } }
    })

  test('what must hold for every history does', () => {
    fc.assert(
      fc.property(history, policy, (frames, rules) => {
        const result = keptFrames(frames, rules)
        const whole = frames.filter((frame) => frame.whole)
        const has = (frame: RetentionFrame | undefined): boolean =>
          frame === undefined || result.has(frame.number)
        expect(has(frames.at(-1))).toBe(true)
        expect(has(whole.at(-1))).toBe(true)
        if (rules.last !== undefined) {
          for (const frame of whole.slice(-rules.last)) expect(has(frame)).toBe(true)
        }
        const newest = whole.at(-1)
        if (rules.within !== undefined && newest !== undefined) {
          const start = newest.frozenAtMs - rules.within.ms
          // For each instant of the window, a frame at or before it is kept, if there ever was one.
          expect(has(whole.findLast(({ frozenAtMs }) => frozenAtMs <= start))).toBe(true)
          for (const frame of whole) if (frame.frozenAtMs > start) expect(has(frame)).toBe(true)
        }
        for (const reasons of result.values()) expect(reasons.length).toBeGreaterThan(0)
      }),
      seeded(500),
    )
  })

  test('who prunes twice prunes once, and pruning often keeps what the rules of time would have kept', () => {
    fc.assert(
      fc.property(history, policy, (frames, rules) => {
        const once = frames.filter(({ number }) => keptFrames(frames, rules).has(number))
        const twice = once.filter(({ number }) => keptFrames(once, rules).has(number))
        expect(twice).toEqual(once)
        // Prunes after each frame, as an archive does.
        let left: RetentionFrame[] = []
        for (const frame of frames) {
          const now = [...left, frame]
          const reasons = keptFrames(now, rules)
          left = now.filter(({ number }) => reasons.has(number))
        }
        const atOnce = keptFrames(frames, rules)
        const wholeOnes = (list: RetentionFrame[]) =>
          list.filter(({ whole }) => whole).map(({ number }) => number)
        const missing = wholeOnes(once).filter((number) => !wholeOnes(left).includes(number))
        expect(missing.map((number) => [number, atOnce.get(number)])).toEqual([])
      }),
      seeded(300),
    )
  })
})

test.each([
  ['30s', 30_000],
  ['30m', 30 * 60_000],
  ['12h', 12 * hour],
  ['7d', 7 * day],
  ['2w', 14 * day],
  [1500, 1500],
])('a duration: %s', (text, ms) => {
  expect(checkDuration(text, 'options.within')).toBe(ms)
})

test.each([
  ['7'],
  ['d'],
  ['-1d'],
  ['0d'],
  ['1 d'],
  ['1y'],
  [''],
  [0],
  [-1],
  [Number.NaN],
  [Number.POSITIVE_INFINITY],
  [true],
  [null],
])('not a duration: %s', (value) => {
  expect(thrownBy(() => checkDuration(value, 'options.within')).code).toMatch(
    /^ERR_(INVALID_ARG|OUT_OF_RANGE)/,
  )
})

test.each([[{}], [{ last: 0 }], [{ last: 1.5 }], [{ yearly: 1 }], [[]], ['7d']])(
  'not a retention: %o',
  (value) => {
    expect(thrownBy(() => checkRetention(value, 'options.retention')).code).toMatch(
      /^ERR_(INVALID_ARG|OUT_OF_RANGE)/,
    )
  },
)
