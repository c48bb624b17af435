/** A chart: a canvas with a title. All charts share one view as their x axis. */

import { element } from './dom.js'
import type { Frame } from './frames.js'
import type { Theme } from './theme.js'
import { formatTick, stepOf } from './times.js'
import type { View } from './view.js'

/** The state that a chart needs to draw. */
export interface Stage {
  view: View
  theme: Theme
  selected: Frame
  hovered: Frame | undefined
}

/** One drawing. All coordinates are CSS pixels. */
export interface Drawing extends Stage {
  context: CanvasRenderingContext2D
  /** Left edge of the plot; the labels of the y axis are to the left of it. */
  left: number
  width: number
  height: number
  /** Converts a position of the view to a coordinate on the canvas. */
  x(position: number): number
}

/** The properties that differ between charts. */
export interface Chart {
  title: string
  /** Next to the title: the meaning of colors and shapes. */
  legend?: HTMLElement | undefined
  /** Description for screen readers. */
  label: string
  height: number
  /** True to draw the vertical grid lines, at the ticks of the x axis, first. */
  grid?: boolean
  draw(drawing: Drawing): void
  /** Describes what is at a height of the chart, for the hovered frame. */
  describe?(frame: Frame, y: number): string | undefined
}

/** A chart in the page. */
export class Plot {
  readonly figure: HTMLElement
  readonly canvas: HTMLCanvasElement
  readonly chart: Chart

  constructor(chart: Chart) {
    this.chart = chart
    this.canvas = element('canvas', { role: 'img', 'aria-label': chart.label })
    this.canvas.style.height = `${chart.height}px`
    this.figure = element(
      'figure',
      { class: 'plot' },
      element('figcaption', {}, element('h3', {}, chart.title), chart.legend),
      this.canvas,
    )
  }

  draw(stage: Stage): void {
    drawOn(this.canvas, this.chart.height, stage, (drawing) => {
      if (this.chart.grid !== false) drawGrid(drawing)
      this.chart.draw(drawing)
    })
  }
}

/** Narrow pages have less room for labels. */
export function plotLeft(width: number): number {
  return width < 520 ? 52 : 92
}

/** Margin on the right, so that marks at the end are not cut off. */
export const plotRight = 14

/** Sizes the canvas for the screen's pixel density, and draws on it. */
export function drawOn(
  canvas: HTMLCanvasElement,
  height: number,
  stage: Stage,
  draw: (drawing: Drawing) => void,
): void {
  const whole = canvas.clientWidth
  const context = canvas.getContext('2d')
  if (whole === 0 || context === null) return
  const density = pixelDensity()
  canvas.width = Math.round(whole * density)
  canvas.height = Math.round(height * density)
  context.scale(density, density)
  context.font = `11px ${stage.theme.font}`
  const left = plotLeft(whole)
  const width = whole - left - plotRight
  const { from, to } = stage.view.range
  const x = (position: number): number => left + ((position - from) / (to - from)) * width
  draw({ ...stage, context, left, width, height, x })
}

/** Paper has a higher resolution than screens. */
export function pixelDensity(): number {
  const isPrinting = document.documentElement.dataset['theme'] === 'print'
  return Math.max(window.devicePixelRatio || 1, isPrinting ? 3 : 1)
}

/** Clips a drawing to the plot. */
export function clipped({ context, left, width, height }: Drawing, draw: () => void): void {
  context.save()
  context.beginPath()
  // Marks at either end are not cut off.
  context.rect(left - 8, 0, width + 8 + plotRight, height)
  context.clip()
  draw()
  context.restore()
}

/** A tick of the x axis: its position and its two lines of text. */
export interface Tick {
  at: number
  text: string
  below: string
}

/** Ticks, spaced far enough apart for their labels. */
export function ticksOf({ view, width }: Pick<Drawing, 'view' | 'width'>): Tick[] {
  const room = width < 480 ? 68 : 96
  const { from, to } = view.range
  const most = Math.max(1, Math.floor(width / room))
  if (view.scale === 'time') {
    const step = stepOf((to - from) / most)
    const ticks: Tick[] = []
    for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
      ticks.push({
        at,
        text: formatTick(at, step),
        below: step < 86_400_000 ? formatTick(at, 86_400_000) : '',
      })
    }
    return withoutRepeats(ticks)
  }
  const [first, end] = view.visible()
  const step = niceStep((end - first) / most)
  const precision = first < end - 1 ? meanGap(view, first, end) : 1000
  const ticks: Tick[] = []
  for (let index = Math.ceil(first / step) * step; index < end; index += step) {
    const frame = view.frames[index]
    if (frame === undefined) continue
    const isLong = precision * step >= 43_200_000
    ticks.push({
      at: index,
      text: isLong ? formatTick(frame.at, 86_400_000) : formatTick(frame.at, Math.min(precision, 86_399_999)),
      below: isLong ? '' : formatTick(frame.at, 86_400_000),
    })
  }
  return withoutRepeats(ticks)
}

/** Shows each day only where it begins. */
function withoutRepeats(ticks: Tick[]): Tick[] {
  return ticks.map((tick, index) => (tick.below === ticks[index - 1]?.below ? { ...tick, below: '' } : tick))
}

function meanGap(view: View, first: number, end: number): number {
  const [a, b] = [view.frames[first], view.frames[end - 1]]
  return a === undefined || b === undefined ? 1000 : (b.at - a.at) / (end - 1 - first)
}

function niceStep(least: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, least)))
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= least) ?? 10)
}

function drawGrid(drawing: Drawing): void {
  const { context, theme, height, x } = drawing
  context.strokeStyle = theme.line
  context.lineWidth = 1
  context.beginPath()
  for (const { at } of ticksOf(drawing)) {
    const where = Math.round(x(at)) + 0.5
    context.moveTo(where, 0)
    context.lineTo(where, height)
  }
  context.stroke()
}

/** Draws a label of the y axis, cut to the room available. */
export function drawLabel(
  { context, left, theme }: Drawing,
  text: string,
  y: number,
  baseline: CanvasTextBaseline = 'middle',
): void {
  context.fillStyle = theme.muted
  context.textAlign = 'right'
  context.textBaseline = baseline
  let fitting = text
  while (fitting.length > 1 && context.measureText(fitting).width > left - 12) {
    fitting = `${fitting.replace(/…$/, '').slice(0, -1)}…`
  }
  context.fillText(fitting, left - 8, y)
}

/** Draws a horizontal grid line with its label. */
export function drawLevel(drawing: Drawing, text: string, y: number): void {
  const { context, theme, left, width } = drawing
  context.strokeStyle = theme.line
  context.lineWidth = 1
  context.beginPath()
  context.moveTo(left, Math.round(y) + 0.5)
  context.lineTo(left + width, Math.round(y) + 0.5)
  context.stroke()
  drawLabel(drawing, text, y)
}

/** Smallest distance between two neighboring frames, in pixels. */
export function roomOf({ view, x, width }: Drawing): number {
  const [first, end] = view.visible()
  if (view.scale === 'frame') return x(1) - x(0)
  let least = width
  for (let index = first + 1; index < end; index++) {
    const [a, b] = [view.frames[index - 1], view.frames[index]]
    if (a !== undefined && b !== undefined) least = Math.min(least, x(b.at) - x(a.at))
  }
  return least
}

/** The visible frames and one beyond each end, whose lines reach into view. */
export function framesInSight({ view }: Pick<Drawing, 'view'>): readonly Frame[] {
  const [first, end] = view.visible()
  return view.frames.slice(Math.max(0, first - 1), end + 1)
}
