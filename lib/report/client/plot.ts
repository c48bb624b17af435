/** A chart: a canvas with a title, whose x axis is the view that all charts share. */

import { element } from './dom.js'
import type { Frame } from './frames.js'
import type { Theme } from './theme.js'
import { formatTick, stepOf } from './times.js'
import type { View } from './view.js'

/** What a chart needs to draw. */
export interface Stage {
  view: View
  theme: Theme
  selected: Frame
  hovered: Frame | undefined
}

/** One drawing: everything in CSS pixels. */
export interface Drawing extends Stage {
  context: CanvasRenderingContext2D
  /** Where the plot begins: on its left are the labels of the y axis. */
  left: number
  width: number
  height: number
  /** From a position of the view to a place on the canvas. */
  x(position: number): number
}

/** What is different from chart to chart. */
export interface Chart {
  title: string
  /** Beside the title: what colours and shapes mean. */
  legend?: HTMLElement | undefined
  /** For those who do not see it. */
  label: string
  height: number
  /** Draws the lines at the ticks of the x axis before anything else. */
  grid?: boolean
  draw(drawing: Drawing): void
  /** What lies at a height of the chart, for the frame that is pointed at. */
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

/** Free on the right, so that marks at the end are whole. */
export const plotRight = 14

/** Prepares the canvas for the screen's pixels, and has it drawn on. */
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

/** Paper has finer ones than screens. */
export function pixelDensity(): number {
  const isPrinting = document.documentElement.dataset['theme'] === 'print'
  return Math.max(window.devicePixelRatio || 1, isPrinting ? 3 : 1)
}

/** Keeps what is drawn inside the plot. */
export function clipped({ context, left, width, height }: Drawing, draw: () => void): void {
  context.save()
  context.beginPath()
  // Marks at the very ends are whole.
  context.rect(left - 8, 0, width + 8 + plotRight, height)
  context.clip()
  draw()
  context.restore()
}

/** A tick of the x axis: where it is, and its two lines of text. */
export interface Tick {
  at: number
  text: string
  below: string
}

/** Ticks that are so far apart that their texts are. */
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

/** A day is told where it begins. */
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

/** A label of the y axis, cut to its room. */
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

/** A horizontal line of the grid with its label. */
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

/** Pixels from frame to frame, where they are nearest. */
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

/** Frames in sight, and one beyond each end, whose lines come from outside. */
export function framesInSight({ view }: Pick<Drawing, 'view'>): readonly Frame[] {
  const [first, end] = view.visible()
  return view.frames.slice(Math.max(0, first - 1), end + 1)
}
