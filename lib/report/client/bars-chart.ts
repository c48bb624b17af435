/** Shows one number per frame, such as its size, as bars, and optionally a second one as a line. */

import { element } from './dom.js'
import type { Frame } from './frames.js'
import { type Chart, clipped, type Drawing, drawLevel, framesInSight, roomOf } from './plot.js'
import type { Theme } from './theme.js'

const height = 118
const top = 10
const bottom = 4
/** Maximum ratio of a linear axis: beyond it, the smallest bars would be too low to see. */
const widestLinear = 12

/** The data of a bar chart, and how to show it. */
export interface Bars {
  title: string
  label: string
  value(frame: Frame): number | null
  colour(frame: Frame, theme: Theme): string
  /** The second number. */
  line?: ((frame: Frame) => number | null) | undefined
  format(value: number): string
  /** 1024 for bytes, so that ticks are round numbers. */
  base: 10 | 1024
  /** Meaning of each color, by CSS class of the legend key. */
  legend?: Readonly<Record<string, string>>
}

export function barsChart(frames: readonly Frame[], bars: Bars): Chart {
  const values = frames
    .flatMap((frame) => [bars.value(frame), bars.line?.(frame) ?? null])
    .filter((value) => value !== null && value > 0) as number[]
  const most = values.reduce((a, b) => Math.max(a, b), 1)
  const least = values.reduce((a, b) => Math.min(a, b), most)
  const isLogarithmic = most / least > widestLinear
  const scale = isLogarithmic ? logarithmic(least, most, bars.base) : linear(most, bars.base)
  const y = (value: number): number => height - bottom - scale.part(value) * (height - top - bottom)
  return {
    title: bars.title,
    legend: legend(bars.legend ?? {}, isLogarithmic),
    label: bars.label,
    height,
    draw(drawing) {
      for (const tick of scale.ticks) drawLevel(drawing, bars.format(tick), y(tick))
      clipped(drawing, () => drawBars(drawing, bars, y))
    },
  }
}

function drawBars(drawing: Drawing, bars: Bars, y: (value: number) => number): void {
  const { context, theme, x, view, selected, hovered } = drawing
  const width = Math.min(18, Math.max(1, roomOf(drawing) * 0.62))
  const floor = height - bottom
  for (const frame of framesInSight(drawing)) {
    const value = bars.value(frame)
    if (value === null || value <= 0) continue
    const isChosen = frame === selected || frame === hovered
    const left = x(view.positionOf(frame)) - width / 2
    const tip = Math.min(y(value), floor - 1)
    const colour = frame.damage === undefined ? bars.colour(frame, theme) : theme.bad
    // A narrow bar has no room for an outline.
    context.fillStyle = isChosen && width < 5 ? theme.chosen : colour
    context.globalAlpha = isChosen ? 1 : 0.85
    context.beginPath()
    context.roundRect(left, tip, width, floor - tip, width > 5 ? [2, 2, 0, 0] : 0)
    context.fill()
    context.globalAlpha = 1
    if (isChosen && width >= 5) {
      context.strokeStyle = theme.chosen
      context.lineWidth = 2
      context.stroke()
    }
    const second = bars.line?.(frame)
    if (second === null || second === undefined || second <= 0) continue
    const at = Math.min(y(second), floor - 1)
    const half = Math.max(width / 2 + 1, 1.5)
    context.strokeStyle = theme.surface
    context.lineWidth = 4
    line(context, x(view.positionOf(frame)), at, half)
    context.strokeStyle = theme.ink
    context.lineWidth = 2
    line(context, x(view.positionOf(frame)), at, half)
  }
}

function line(context: CanvasRenderingContext2D, x: number, y: number, half: number): void {
  context.beginPath()
  context.moveTo(x - half, y)
  context.lineTo(x + half, y)
  context.stroke()
}

interface Scale {
  ticks: number[]
  part(value: number): number
}

function linear(most: number, base: 10 | 1024): Scale {
  const unit = base === 10 ? 1 : 1024 ** Math.floor(Math.log(most) / Math.log(1024))
  const power = unit * 10 ** Math.floor(Math.log10(most / unit / 2))
  const step = power * ([1, 2, 2.5, 5, 10].find((factor) => factor * power * 3 >= most) ?? 10)
  const top = Math.ceil(most / step - 1e-9) * step
  const ticks = Array.from({ length: Math.round(top / step) + 1 }, (_, index) => index * step)
  return { ticks: ticks.slice(1), part: (value) => value / top }
}

/** From the nearest power below the smallest number to the largest number. */
function logarithmic(least: number, most: number, base: 10 | 1024): Scale {
  const step = base === 10 ? 10 : 2 ** 5
  const first = Math.floor(Math.log(least) / Math.log(step) - 1e-9)
  const last = Math.log(most) / Math.log(step)
  const ticks: number[] = []
  for (let power = first; power <= last; power++) ticks.push(step ** power)
  const every = Math.ceil(ticks.length / 4)
  return {
    ticks: ticks.filter((_, index) => (ticks.length - 1 - index) % every === 0),
    part: (value) => Math.max(0, (Math.log(value) / Math.log(step) - first) / Math.max(last - first, 1e-9)),
  }
}

function legend(entries: Readonly<Record<string, string>>, isLogarithmic: boolean): HTMLElement {
  return element(
    'span',
    { class: 'legend' },
    ...Object.entries(entries).map(([kind, text]) =>
      element('span', {}, element('i', { class: `key ${kind}`, 'aria-hidden': 'true' }), text),
    ),
    isLogarithmic && element('span', { class: 'scale' }, 'logarithmic'),
  )
}
