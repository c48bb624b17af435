/**
 * Promise: a report is one small file that loads nothing, shows its data truthfully, and executes
 * nothing that a name in the data contains. Proved on pages of invented places, read as text;
 * browser.test.ts opens them in a browser.
 */

import { createHash } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import type { ReportData, ReportFrame } from '../../lib/report/data.js'
import { encodeForPage } from '../../lib/report/encode.js'
import { renderPage } from '../../lib/report/page.js'
import {
  decodeLevels,
  elsewhere,
  encodeLevels,
  levelOf,
  none,
  type PageData,
  shareOf,
  topLevel,
} from '../../lib/report/page-data.js'
import { verdictOf } from '../../lib/report/summary.js'
import { hostileReport } from './hostile.js'
import { idOf, sampleReport } from './sample.js'

const frame = (number: number, more: Partial<ReportFrame> = {}): ReportFrame => ({
  number,
  name: `frame ${number}`,
  id: idOf(number),
  frozenAt: new Date(Date.UTC(2026, 10, 30, 0, number)),
  kind: more.parentId === undefined ? 'full' : 'delta',
  fileSize: 4096,
  hasState: false,
  keptBecause: [],
  sections: [],
  ...more,
})
const report = (frames: readonly ReportFrame[], more: Partial<ReportData> = {}): ReportData => ({
  place: '/backup',
  kind: 'directory',
  madeAt: new Date(Date.UTC(2026, 10, 30, 12)),
  frames,
  heat: { sections: [] },
  checked: 'opened',
  remarks: [],
  ...more,
})

/** The data for the page's own script. */
function dataOf(page: string): PageData {
  const [, json = ''] = /<script type="application\/json" id="data">(.*?)<\/script>/s.exec(page) ?? []
  return JSON.parse(json) as PageData
}

describe('the page', () => {
  it('allows nothing but its own script, style sheet and icon', () => {
    const page = renderPage(sampleReport(20))
    const [, policy = ''] = /http-equiv="Content-Security-Policy" content="([^"]*)"/.exec(page) ?? []
    const hash = (text = ''): string => `'sha256-${createHash('sha256').update(text).digest('base64')}'`
    const [, script] = /<script>(.*?)<\/script>/s.exec(page) ?? []
    const [, style] = /<style>(.*?)<\/style>/s.exec(page) ?? []
    expect(policy.split('; ')).toEqual([
      "default-src 'none'",
      `script-src ${hash(script)}`,
      `style-src ${hash(style)}`,
      'img-src data:',
      "base-uri 'none'",
      "form-action 'none'",
    ])
    // The policy must come before everything that it restricts.
    expect(page.indexOf(policy)).toBeLessThan(page.indexOf('<style>'))
    expect(page.match(/<script/g)).toHaveLength(2)
    expect(page).not.toMatch(/(?:src|href)="(?!data:)/)
  })

  it('has some 200 kB for 1,000 frames, and not much less for few', () => {
    expect(renderPage(sampleReport(1000)).length).toBeLessThan(240_000)
    expect(renderPage(sampleReport(1)).length).toBeLessThan(60_000)
  })

  it('tells those without scripts the newest frames, and how many it leaves out', () => {
    const [, few = ''] = /<noscript>(.*?)<\/noscript>/s.exec(renderPage(sampleReport(20))) ?? []
    expect(few).toContain('All frames')
    expect(few.match(/<tr><th scope="row">/g)).toHaveLength(20)
    const [, many = ''] = /<noscript>(.*?)<\/noscript>/s.exec(renderPage(sampleReport(300))) ?? []
    expect(many).toContain('The newest 50 of 300 frames')
    expect(many).toContain('frame 300')
    expect(many).not.toContain('frame 250<')
  })
})

describe('what harms', () => {
  const page = renderPage(hostileReport())

  it('is no markup', () => {
    expect(page.match(/<script/gi)).toHaveLength(2)
    expect(page.match(/<\/script/gi)).toHaveLength(2)
    expect(page).not.toMatch(/<(?:img|svg)/i)
    expect(page).not.toContain('<!--')
  })

  it('is visible: nothing turns the direction of the text, or is not to be seen', () => {
    expect(page.match(/[\p{Cf}\p{Zl}\p{Zp}]/gu)).toBeNull()
    expect(page.match(/(?!\n)\p{Cc}/gu)).toBeNull()
    expect(page).toContain('\\u202egnp.sf')
  })

  it('is short', () => {
    expect(page).not.toContain('x'.repeat(401))
    expect(page.length).toBeLessThan(300_000)
    for (const name of dataOf(page).name) expect(name.length).toBeLessThanOrEqual(80)
  })

  it('leaves the data whole', () => {
    const data = dataOf(page)
    expect(data.number).toHaveLength(40)
    expect(data.texts).toContain('__proto__')
    expect(data.sectionSets[0]).toMatchObject({ more: 80 })
    expect(data.sectionSets[0]?.sections).toHaveLength(20)
  })
})

describe('what the page says first', () => {
  it('is how far damage was looked for, if none was found', () => {
    expect(verdictOf(report([frame(1)]))).toMatchObject({
      good: true,
      text: expect.stringContaining('the pages were not read'),
    })
    expect(verdictOf(report([frame(1)], { checked: 'verified' }))).toMatchObject({
      good: true,
      text: 'Every byte of every frame was read and checked.',
    })
  })

  it('is damage, and the newest frame that can be restored', () => {
    const frames = [frame(1), frame(2), frame(3, { damage: 'gone' })]
    expect(verdictOf(report(frames))).toEqual({
      good: false,
      title: '1 frame cannot be restored',
      text: 'The newest that can is frame 2, of 2026-11-30 00:02:00 UTC.',
    })
    expect(verdictOf(report([frame(1, { damage: 'gone' })])).text).toBe('No frame here can be restored.')
  })

  it('is each cause of damage once, with what is lost with it', () => {
    const frames = [
      frame(1),
      frame(2, { parentId: idOf(1), damage: 'a flipped bit' }),
      frame(3, { parentId: idOf(2), damage: 'its parent is damaged' }),
      frame(4, { parentId: idOf(3), damage: 'its parent is damaged' }),
      frame(5, { parentId: idOf(99), damage: 'no parent' }),
    ]
    const [, damage = ''] =
      /<section class="panel damage"(.*?)<\/section>/s.exec(renderPage(report(frames))) ?? []
    expect(damage.match(/<li>/g)).toHaveLength(2)
    expect(damage).toContain('a flipped bit')
    expect(damage).toContain('Lost with it: 2 frames built on it, <bdi>frame 3</bdi> – <bdi>frame 4</bdi>')
    expect(damage).not.toContain('its parent is damaged')
    expect(damage).toContain('no parent')
  })

  it('is what deltas save', () => {
    const byteLength = 2 ** 30
    const frames = [
      frame(1, { byteLength, fileSize: byteLength }),
      frame(2, { byteLength, fileSize: 2 ** 20 }),
    ]
    expect(renderPage(report(frames))).toContain('instead of 2 GiB: 2 × less')
  })
})

describe('the data in the page', () => {
  it('say which frame builds on which, also on one that is not there', () => {
    const frames = [frame(1), frame(2, { parentId: idOf(1) }), frame(3, { parentId: idOf(99) })]
    expect(encodeForPage(report(frames)).parent).toEqual([none, 0, elsewhere])
  })

  it('have each text once', () => {
    const data = encodeForPage(
      report([1, 2, 3].map((number) => frame(number, { keptBecause: ['last 3'], engine: 'fork' }))),
    )
    expect(data.texts).toEqual(['fork', 'last 3'])
    expect(data.keptBecause).toEqual([[1], [1], [1]])
  })

  it('have levels that are read as they were written, and take little room where nothing changes', () => {
    const cases = [
      [],
      [0],
      [1, 2, 3],
      new Array<number>(500).fill(0),
      [0, 0, 0, 0, 31, 31, 31, 31, 31, 31, 5],
    ]
    for (const levels of cases) expect(decodeLevels(encodeLevels(levels))).toEqual(levels)
    const all = Array.from({ length: 32 }, (_, level) => new Array<number>(level + 1).fill(level)).flat()
    expect(decodeLevels(encodeLevels(all))).toEqual(all)
    expect(encodeLevels(new Array<number>(500).fill(0))).toBe('0(dw)')
  })

  it('tell nothing, little and all apart', () => {
    expect(levelOf(0)).toBe(0)
    expect(levelOf(1e-9)).toBe(1)
    expect(levelOf(1)).toBe(topLevel)
    expect(levelOf(1 - 1e-9)).toBe(topLevel - 1)
    expect(levelOf(0.5)).toBeLessThan(levelOf(0.6))
    expect(shareOf(levelOf(0.5))).toBeCloseTo(0.5, 1)
  })
})
