/**
 * Shows which parts of a section changed when: frames from left to right, memory from top to
 * bottom.
 */

import { formatBytes } from '../../base/units.js'
import { shareOf, topLevel } from '../page-data.js'
import { element } from './dom.js'
import type { HeatSection } from './frames.js'
import { type Chart, clipped, type Drawing, drawLabel, pixelDensity } from './plot.js'
import { css, readTheme } from './theme.js'

/** Minimum height of a map and maximum height of one piece, in pixels. */
const [lowest, tallestPiece] = [96, 12]

export function heatChart(section: HeatSection, title: HTMLElement): Chart {
  // Whole pixels, so that all pieces have the same height.
  const height = section.pieces * Math.min(tallestPiece, Math.ceil(lowest / section.pieces))
  const pieceAt = (y: number): number =>
    Math.min(section.pieces - 1, Math.max(0, Math.floor((y / height) * section.pieces)))
  return {
    title: '',
    legend: title,
    label: `Heat map of the section: which parts of its ${formatBytes(section.byteLength)} changed between one frame and the next.`,
    height,
    grid: false,
    draw(drawing) {
      drawLabel(drawing, '0', 0, 'top')
      drawLabel(drawing, formatBytes(section.byteLength), height, 'bottom')
      clipped(drawing, () => drawCells(drawing, section))
    },
    describe(frame, y) {
      const piece = pieceAt(y)
      const from = piece * section.pieceBytes
      const to = Math.min(from + section.pieceBytes, section.byteLength)
      const range = `0x${from.toString(16)} – 0x${to.toString(16)}`
      const column = section.columns[frame.index]
      if (column === undefined) return `${range}: not compared`
      const level = column[piece]
      return `${range}: ${level === undefined ? 'did not exist' : describeLevel(level)}`
    },
  }
}

function describeLevel(level: number): string {
  if (level === 0) return 'nothing changed'
  if (level === topLevel) return 'all of it changed'
  const percent = 100 * shareOf(level)
  return `about ${percent < 1 ? percent.toFixed(2) : percent.toFixed(0)} % changed`
}

/**
 * Each pixel shows the largest change of any frame under it, so that nothing is lost if there are
 * more frames than pixels.
 */
function drawCells(drawing: Drawing, section: HeatSection): void {
  const { context, view, theme, left, width, height, x } = drawing
  const density = pixelDensity()
  const columns = Math.max(1, Math.round(width * density))
  const levels = new Int8Array(columns * section.pieces).fill(-2)
  const toColumn = (position: number): number => Math.round((x(position) - left) * density)
  const [first, end] = view.visible()
  for (let index = Math.max(0, first - 1); index <= Math.min(end, view.frames.length - 1); index++) {
    const [from, to] = spanOf(drawing, index)
    const start = Math.max(0, toColumn(from))
    const stop = Math.min(columns, Math.max(toColumn(to), start + 1))
    const cells = section.columns[index]
    for (let piece = 0; piece < section.pieces; piece++) {
      const level = cells === undefined ? -1 : (cells[piece] ?? -2)
      for (let at = piece * columns + start; at < piece * columns + stop; at++) {
        if (level > (levels[at] ?? 0)) levels[at] = level
      }
    }
  }
  const image = new ImageData(columns, section.pieces)
  for (const [at, level] of levels.entries()) {
    const colour = level >= 0 ? theme.heat[level] : level === -1 ? theme.unknown : undefined
    if (colour !== undefined) image.data.set([...colour, 255], 4 * at)
  }
  const cells = document.createElement('canvas')
  cells.width = columns
  cells.height = section.pieces
  cells.getContext('2d')?.putImageData(image, 0, 0)
  context.imageSmoothingEnabled = false
  context.drawImage(cells, left, 0, width, height)
  drawChosen(drawing)
}

/** The extent of a column. On the time scale, this is the time since the preceding frame. */
function spanOf({ view }: Drawing, index: number): [from: number, to: number] {
  if (view.scale === 'frame') return [index - 0.5, index + 0.5]
  const at = view.frames[index]?.at ?? 0
  // The first frame has no known start.
  return [view.frames[index - 1]?.at ?? Math.max(view.range.from, at - 1), at]
}

function drawChosen(drawing: Drawing): void {
  const { context, theme, x, left, width, height, selected, hovered } = drawing
  for (const frame of new Set([selected, hovered])) {
    if (frame === undefined) continue
    const [from, to] = spanOf(drawing, frame.index)
    const start = Math.max(x(from), left)
    const stop = Math.min(x(to), left + width)
    if (stop < start) continue
    context.strokeStyle = theme.chosen
    context.lineWidth = 2
    context.strokeRect(start - 1, 1, Math.max(stop - start, 1) + 2, height - 2)
  }
}

/** The meaning of the colors. Redrawn when the theme changes. */
export class HeatLegend {
  readonly root: HTMLElement
  readonly #canvas: HTMLCanvasElement

  constructor() {
    this.#canvas = element('canvas', { class: 'ramp', 'aria-hidden': 'true', width: topLevel, height: 1 })
    const mark = (text: string, share: number): HTMLElement => {
      const made = element('span', {}, text)
      made.style.left = `${100 * Math.cbrt(share)}%`
      return made
    }
    this.root = element(
      'span',
      { class: 'legend' },
      element('span', {}, element('i', { class: 'key unchanged', 'aria-hidden': 'true' }), 'nothing'),
      element(
        'span',
        { class: 'ramp-box', role: 'img', 'aria-label': 'from a few pages to all of them' },
        this.#canvas,
        element(
          'span',
          { class: 'ramp-marks', 'aria-hidden': 'true' },
          mark('1 %', 0.01),
          mark('10', 0.1),
          mark('50', 0.5),
          mark('all', 1),
        ),
      ),
      element('span', {}, element('i', { class: 'key unknown', 'aria-hidden': 'true' }), 'not compared'),
    )
  }

  draw(): void {
    const context = this.#canvas.getContext('2d')
    for (const [level, colour] of readTheme().heat.entries()) {
      if (context === null || level === 0) continue
      context.fillStyle = css(colour)
      context.fillRect(level - 1, 0, 1, 1)
    }
  }
}
