/**
 * Promise: a report draws, zooms, names each frame, is readable for everybody on every screen and
 * on paper, and contacts no server. Proved with a real browser, with mouse, fingers and keys, and
 * with axe's accessibility rules.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { Browser, Page } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { renderPage } from '../../lib/report/page.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { launchBrowser, needsBrowser, type Opened, openPage } from './browser.js'
import { hostileReport } from './hostile.js'
import { sampleReport } from './sample.js'

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
const directory = sharedTemporaryDirectory()
const pages = {
  one: sampleReport(1),
  few: sampleReport(20, { everyMs: 5000 }),
  many: sampleReport(120),
  thousand: sampleReport(1000),
  hostile: hostileReport(),
}
const phone = { viewport: { width: 360, height: 740 }, hasTouch: true, isMobile: true, deviceScaleFactor: 2 }
const desk = { viewport: { width: 1360, height: 1700 } }

let browser: Browser
beforeAll(async () => {
  const launched = await launchBrowser()
  if (launched === undefined) return
  browser = launched
  for (const [name, data] of Object.entries(pages))
    writeFileSync(join(directory, `${name}.html`), renderPage(data))
})
afterAll(() => browser?.close())
beforeEach(needsBrowser)

const open = (name: keyof typeof pages, options: Parameters<typeof openPage>[2] = desk): Promise<Opened> =>
  openPage(browser, join(directory, `${name}.html`), options)

/** The page builds the table when it is opened. */
async function openTable(page: Page): Promise<void> {
  await page.locator('details.frames > summary').click()
  await page.locator('tbody tr').first().waitFor()
}

/**
 * The page's own description of the visible frames, such as `120 frames` or `frames 3 – 40 of 120`.
 */
const inSight = (page: Page): Promise<string | null> => page.locator('.state').textContent()

/** The number of visible frames. */
async function framesInSight(page: Page): Promise<number> {
  // Charts are drawn in the next animation frame.
  await page.evaluate(
    () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
  )
  const text = (await inSight(page)) ?? ''
  const [, first, last] = /frames ([\d,]+) – ([\d,]+) of/.exec(text) ?? []
  const number = (of: string | undefined): number => Number((of ?? '').replaceAll(',', ''))
  return first === undefined ? number(/([\d,]+) frame/.exec(text)?.[1]) : number(last) - number(first) + 1
}

/** Canvases without a drawing: all of their pixels are equal. */
const emptyCharts = (page: Page): Promise<string[]> =>
  page.evaluate(() =>
    [...document.querySelectorAll('canvas')].flatMap((canvas) => {
      const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext('2d', {
        willReadFrequently: true,
      })
      copy?.drawImage(canvas, 0, 0)
      const pixels = new Uint32Array(copy?.getImageData(0, 0, canvas.width, canvas.height).data.buffer ?? [])
      return pixels.some((pixel) => pixel !== pixels[0]) ? [] : [canvas.ariaLabel ?? canvas.className]
    }),
  )

/**
 * Text that is hard to read: its contrast to the background is below the minimum of WCAG (4.5 to
 * 1).
 */
const faintText = (page: Page): Promise<string[]> =>
  page.evaluate(() => {
    const parse = (colour: string): number[] => (colour.match(/[\d.]+/g) ?? []).map(Number)
    const luminance = ([red = 0, green = 0, blue = 0]: number[]): number => {
      const linear = (value: number): number =>
        value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4
      return 0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }
    const behind = (element: Element | null): number[] => {
      if (element === null) return [255, 255, 255]
      const colour = parse(getComputedStyle(element).backgroundColor)
      return colour.length === 4 && (colour[3] ?? 1) < 1 ? behind(element.parentElement) : colour
    }
    const faint: string[] = []
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const element = node.parentElement
      const text = node.textContent?.trim() ?? ''
      if (element === null || text === '' || element.closest('script, noscript, :disabled') !== null) continue
      if (!element.checkVisibility({ visibilityProperty: true })) continue
      const [light = 0, dark = 0] = [
        luminance(parse(getComputedStyle(element).color)),
        luminance(behind(element)),
      ].sort((a, b) => b - a)
      if ((light + 0.05) / (dark + 0.05) < 4.5) faint.push(text)
    }
    return faint
  })

describe('every page', () => {
  it.each(Object.keys(pages) as (keyof typeof pages)[])('%s draws, and asks for nothing', async (name) => {
    await using opened = await open(name)
    const { page, requests, said } = opened
    await openTable(page)
    expect(await page.locator('tbody tr').count()).toBe(pages[name].frames.length)
    expect(await emptyCharts(page)).toEqual([])
    expect(said).toEqual([])
    expect(requests).toEqual([])
  })

  it.each(Object.keys(pages) as (keyof typeof pages)[])('%s fits a phone', async (name) => {
    await using opened = await open(name, phone)
    const { page } = opened
    await openTable(page)
    await page.locator('.toggle').tap()
    const widths = await page.evaluate(() => [
      document.documentElement.scrollWidth,
      document.body.scrollWidth,
    ])
    for (const width of widths) expect(width).toBeLessThanOrEqual(360)
  })

  it.each(['light', 'dark'] as const)('can be read in the %s', async (colorScheme) => {
    for (const [name, size] of [
      ['many', desk],
      ['hostile', phone],
    ] as const) {
      await using opened = await open(name, { ...size, colorScheme })
      const { page } = opened
      await openTable(page)
      expect(await faintText(page)).toEqual([])
      const surface = await page.evaluate(
        () => getComputedStyle(document.querySelector('.panel') as Element).backgroundColor,
      )
      expect(surface).toBe(colorScheme === 'dark' ? 'rgb(22, 26, 34)' : 'rgb(255, 255, 255)')
    }
  })

  it('keeps to the rules of accessibility', async () => {
    for (const [name, options] of [
      ['many', desk],
      ['hostile', phone],
    ] as const) {
      await using opened = await open(name, options)
      const { page } = opened
      await openTable(page)
      await page.evaluate(axe)
      const violations = await page.evaluate(async () => {
        const { axe: rules } = globalThis as unknown as {
          axe: { run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }> }
        }
        return (await rules.run()).violations.map(({ id, nodes }) => [id, ...nodes.map(({ html }) => html)])
      })
      expect(violations).toEqual([])
    }
  })

  it('has a table where there are no scripts', async () => {
    await using opened = await open('few', { ...desk, javaScriptEnabled: false })
    const { page } = opened
    expect(await page.locator('noscript tbody tr').count()).toBe(20)
    expect(await page.locator('noscript p').isVisible()).toBe(true)
  })
})

describe('a hostile page', () => {
  it('runs nothing of what its names say, and has no element of theirs', async () => {
    await using opened = await open('hostile')
    const { page, requests, said } = opened
    await page.locator('.slider').focus()
    for (let step = 0; step < 40; step++) await page.keyboard.press('ArrowLeft')
    expect(await page.evaluate(() => (globalThis as { harmed?: unknown }).harmed)).toBeUndefined()
    expect(
      await page
        .locator(
          'img, svg, iframe, object, embed, link:not([rel=icon]), body script:not([type]):not(:last-child)',
        )
        .count(),
    ).toBe(0)
    expect([requests, said]).toEqual([[], []])
  })

  it('could not speak to anybody even if it ran something', async () => {
    await using opened = await open('hostile')
    const { page, said } = opened
    const outcome = await page.evaluate(async () => {
      const image = new Image()
      const answer = new Promise((resolve) => {
        image.onload = () => resolve('loaded')
        image.onerror = () => resolve('refused')
      })
      image.src = 'http://127.0.0.1:9/stolen'
      const script = document.createElement('script')
      script.textContent = 'globalThis.harmed = 1'
      document.body.append(script)
      const fetched = await fetch('http://127.0.0.1:9/').catch(() => 'refused')
      return [await answer, fetched, (globalThis as { harmed?: unknown }).harmed]
    })
    expect(outcome).toEqual(['refused', 'refused', undefined])
    for (const directive of ['img-src', 'script-src', 'connect-src'])
      expect(said.join('\n')).toContain(directive)
  })
})

describe('frames', () => {
  it('are named one by one with the arrow keys, and their facts are shown', async () => {
    await using opened = await open('few')
    const { page } = opened
    const slider = page.getByRole('slider')
    await slider.focus()
    await page.keyboard.press('Home')
    for (let number = 1; number <= 20; number++) {
      expect(await slider.getAttribute('aria-valuenow')).toBe(String(number))
      expect(await slider.getAttribute('aria-valuetext')).toMatch(
        new RegExp(`^frame ${number}, 2026-11-30 .* on disk`),
      )
      expect(await page.locator('.details h2').textContent()).toBe(`frame ${number}`)
      await page.keyboard.press('ArrowRight')
    }
    expect(await page.locator('.details').textContent()).toMatch(
      /Frozen at.*delta on frame 19; 4 files to read.*userfaultfd/,
    )
    expect(await page.locator('.chips').textContent()).toContain('last 10')
  })

  it('are named where the mouse points, with the memory below it', async () => {
    await using opened = await open('few')
    const { page } = opened
    const tip = page.locator('.tip')
    const table = page.getByRole('img', { name: /Heat map/ }).first()
    const box = await table.boundingBox()
    if (box === null) throw new Error('the heat map is not there')
    await page.mouse.move(box.x + box.width - 20, box.y + 3)
    expect(await tip.isVisible()).toBe(true)
    expect(await tip.textContent()).toMatch(/^frame 20.*delta.*0x[0-9a-f]+ – 0x[0-9a-f]+: (about|nothing)/)
    await page.mouse.move(5, 5)
    expect(await tip.isVisible()).toBe(false)
  })

  it('are named by a tap', async () => {
    await using opened = await open('few', phone)
    const { page } = opened
    const chains = page.getByRole('img', { name: /Chains/ })
    await chains.scrollIntoViewIfNeeded()
    const box = await chains.boundingBox()
    if (box === null) throw new Error('the chart is not there')
    await page.touchscreen.tap(box.x + 55, box.y + 60)
    expect(await page.locator('.details h2').textContent()).toBe('frame 1')
    expect(await page.locator('.details .brief').isVisible()).toBe(true)
  })

  it('that are damaged say why', async () => {
    await using opened = await open('many')
    const { page } = opened
    await openTable(page)
    await page.getByRole('button', { name: 'frame 112', exact: true }).click()
    expect(await page.locator('.damage-note').textContent()).toContain('is not as it was written')
    await page.getByRole('button', { name: 'frame 92', exact: true }).click()
    expect(await page.locator('.damage-note').textContent()).toBe('It builds on frame 91, which is damaged.')
  })
})

describe('zooming', () => {
  it('by buttons, and back', async () => {
    await using opened = await open('many')
    const { page } = opened
    expect(await framesInSight(page)).toBe(120)
    await page.getByRole('button', { name: 'Zoom in' }).click()
    expect(await framesInSight(page)).toBeLessThan(90)
    await page.getByRole('button', { name: 'Zoom out' }).click()
    await page.getByRole('button', { name: 'Zoom out' }).click()
    expect(await framesInSight(page)).toBe(120)
  })

  it('by keys: nearer, to the side, and all again', async () => {
    await using opened = await open('many')
    const { page } = opened
    await page.locator('.slider').focus()
    for (let step = 0; step < 3; step++) await page.keyboard.press('+')
    expect(await framesInSight(page)).toBeLessThan(40)
    expect(await inSight(page)).toContain('– 120 of 120')
    await page.keyboard.press('Shift+ArrowLeft')
    await framesInSight(page)
    expect(await inSight(page)).not.toContain('– 120 of')
    // The page scrolls to the chosen frame.
    await page.keyboard.press('Home')
    await framesInSight(page)
    expect(await inSight(page)).toContain('frames 1 –')
    await page.keyboard.press('0')
    expect(await framesInSight(page)).toBe(120)
  })

  it('by drawing over a range, in both scales', async () => {
    await using opened = await open('many')
    const { page } = opened
    for (const scale of ['By time', 'By frame']) {
      await page
        .getByRole('button', { name: 'Show all frames' })
        .or(page.locator('.nothing'))
        .first()
        .click({ force: true })
      await page.locator('.toolbar').getByText(scale).click()
      expect(await framesInSight(page)).toBe(120)
      const box = await page.getByRole('img', { name: /Chains/ }).boundingBox()
      if (box === null) throw new Error('the chart is not there')
      await page.mouse.move(box.x + box.width / 2, box.y + 40)
      await page.mouse.down()
      await page.mouse.move(box.x + box.width / 2 + 100, box.y + 60, { steps: 4 })
      expect(await page.locator('.marked').isVisible()).toBe(true)
      await page.mouse.up()
      expect(await page.locator('.marked').isVisible()).toBe(false)
      const count = await framesInSight(page)
      expect(count).toBeGreaterThan(5)
      expect(count).toBeLessThan(30)
    }
  })

  it('by the wheel: with Ctrl on the charts, where it scrolls otherwise, and without on the bar', async () => {
    await using opened = await open('many', { viewport: { width: 1360, height: 700 } })
    const { page } = opened
    await page.getByRole('img', { name: /paused/ }).hover()
    await page.mouse.wheel(0, 120)
    await expect.poll(() => page.evaluate(() => scrollY)).toBeGreaterThan(0)
    expect(await framesInSight(page)).toBe(120)
    await page.keyboard.down('Control')
    await page.mouse.wheel(0, -600)
    await page.keyboard.up('Control')
    await expect.poll(() => framesInSight(page)).toBeLessThan(90)
    const before = await inSight(page)
    await page.mouse.wheel(200, 0)
    await expect.poll(() => framesInSight(page).then(() => inSight(page))).not.toBe(before)
    await page.locator('.slider').hover()
    await page.mouse.wheel(0, 5000)
    await expect.poll(() => framesInSight(page)).toBe(120)
  })

  it('by two fingers', async () => {
    await using opened = await open('many', phone)
    const { page } = opened
    const chains = page.getByRole('img', { name: /Chains/ })
    await chains.scrollIntoViewIfNeeded()
    const box = await chains.boundingBox()
    if (box === null) throw new Error('the chart is not there')
    const y = box.y + box.height / 2
    const session = await page.context().newCDPSession(page)
    const touch = (type: 'touchStart' | 'touchMove' | 'touchEnd', ...xs: number[]): Promise<unknown> =>
      session.send('Input.dispatchTouchEvent', { type, touchPoints: xs.map((x, id) => ({ x, y, id })) })
    await touch('touchStart', 180)
    await touch('touchStart', 180, 220)
    for (const apart of [10, 20, 40, 60]) await touch('touchMove', 180 - apart, 220 + apart)
    await touch('touchEnd')
    expect(await framesInSight(page)).toBeLessThan(60)
    expect(await page.evaluate(() => visualViewport?.scale)).toBe(1)
  })

  it('on the bar that shows all: a new part, moved, and longer', async () => {
    await using opened = await open('many')
    const { page } = opened
    const box = await page.locator('.map').boundingBox()
    if (box === null) throw new Error('the bar is not there')
    const drag = async (from: number, to: number): Promise<string | null> => {
      await page.mouse.move(box.x + from, box.y + 15)
      await page.mouse.down()
      await page.mouse.move(box.x + to, box.y + 15, { steps: 4 })
      await page.mouse.up()
      await framesInSight(page)
      return await inSight(page)
    }
    await drag(300, 420)
    const drawn = await framesInSight(page)
    expect(drawn).toBeLessThan(30)
    const moved = await drag(360, 460)
    expect(Math.abs((await framesInSight(page)) - drawn)).toBeLessThanOrEqual(1)
    expect(await drag(520, 620)).not.toBe(moved)
    expect(await framesInSight(page)).toBeGreaterThan(drawn + 10)
  })
})

describe('on paper', () => {
  it('the page is light, whatever the screen is, and the charts are drawn for it', async () => {
    await using opened = await open('many', { ...desk, colorScheme: 'dark' })
    const { page, said } = opened
    const brightness = (): Promise<number> =>
      page.evaluate(() => {
        const canvas = [...document.querySelectorAll('canvas')].find((one) =>
          one.ariaLabel?.startsWith('Heat'),
        )
        const copy = new OffscreenCanvas(1, 1).getContext('2d')
        if (canvas !== undefined) copy?.drawImage(canvas, -canvas.width / 2, 4 - canvas.height)
        return copy?.getImageData(0, 0, 1, 1).data[0] ?? -1
      })
    expect(await brightness()).toBeLessThan(100)
    await page.evaluate(() => window.dispatchEvent(new Event('beforeprint')))
    expect(await brightness()).toBeGreaterThan(200)
    await page.evaluate(() => window.dispatchEvent(new Event('afterprint')))
    expect(await brightness()).toBeLessThan(100)
    expect((await page.pdf()).length).toBeGreaterThan(10_000)
    expect(said).toEqual([])
  })
})
