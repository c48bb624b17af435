/**
 * Shows all frames in one row, the range that the charts show, and the axis of that range. The
 * range can be moved, redrawn, and resized at its ends.
 */

import { element } from './dom.js'
import { type Drawing, drawOn, plotLeft, plotRight, type Stage, ticksOf } from './plot.js'
import type { View } from './view.js'

const mapHeight = 34
const axisHeight = 34
/** Distance from an end of the range within which a pointer grabs that end, in pixels. */
const grip = 12

type Hold =
  | { kind: 'from' }
  | { kind: 'to' }
  | { kind: 'move'; offset: number }
  | { kind: 'draw'; from: number }

export class Overview {
  readonly root: HTMLElement
  readonly #map = element('canvas', { class: 'map', 'aria-hidden': 'true' })
  readonly #axis = element('canvas', { class: 'axis', 'aria-hidden': 'true' })
  readonly #view: View
  #hold: Hold | undefined

  constructor(view: View) {
    this.#view = view
    this.#map.style.height = `${mapHeight}px`
    this.#axis.style.height = `${axisHeight}px`
    this.root = element('div', { class: 'overview' }, this.#map, this.#axis)
    this.#listen()
  }

  draw(stage: Stage): void {
    drawOn(this.#map, mapHeight, stage, (drawing) => this.#drawMap(drawing))
    drawOn(this.#axis, axisHeight, stage, drawAxis)
  }

  /** Converts a screen coordinate on the map to a position of the view. */
  #positionAt(clientX: number): number {
    const { left, width } = this.#map.getBoundingClientRect()
    const { from, to } = this.#view.whole
    const begin = left + plotLeft(width)
    return from + ((clientX - begin) / (width - plotLeft(width) - plotRight)) * (to - from)
  }

  #placeOf(position: number): number {
    const { left, width } = this.#map.getBoundingClientRect()
    const { from, to } = this.#view.whole
    return left + plotLeft(width) + ((position - from) / (to - from)) * (width - plotLeft(width) - plotRight)
  }

  #listen(): void {
    this.#map.addEventListener('pointerdown', (event) => {
      if (event.button !== 0) return
      this.#map.setPointerCapture(event.pointerId)
      this.#hold = this.#holdAt(event.clientX)
    })
    this.#map.addEventListener('pointermove', (event) => {
      if (this.#hold === undefined) this.#map.style.cursor = cursorOf(this.#holdAt(event.clientX))
      else this.#drag(this.#hold, this.#positionAt(event.clientX))
    })
    for (const name of ['pointerup', 'pointercancel'] as const)
      this.#map.addEventListener(name, () => {
        this.#hold = undefined
      })
    this.#map.addEventListener('dblclick', () => this.#view.showAll())
  }

  #holdAt(clientX: number): Hold {
    const { from, to } = this.#view.range
    const position = this.#positionAt(clientX)
    if (this.#view.isWhole) return { kind: 'draw', from: position }
    if (Math.abs(clientX - this.#placeOf(from)) < grip) return { kind: 'from' }
    if (Math.abs(clientX - this.#placeOf(to)) < grip) return { kind: 'to' }
    if (position > from && position < to) return { kind: 'move', offset: position - from }
    return { kind: 'draw', from: position }
  }

  #drag(hold: Hold, position: number): void {
    const { from, to } = this.#view.range
    if (hold.kind === 'from') this.#view.show({ from: Math.min(position, to), to })
    else if (hold.kind === 'to') this.#view.show({ from, to: Math.max(position, from) })
    else if (hold.kind === 'draw')
      this.#view.show({ from: Math.min(hold.from, position), to: Math.max(hold.from, position) })
    else this.#view.show({ from: position - hold.offset, to: position - hold.offset + to - from })
  }

  #drawMap({ context, theme, view, left, width, height, selected }: Drawing): void {
    const { from, to } = view.whole
    const x = (position: number): number => left + ((position - from) / (to - from)) * width
    const mark = (position: number, top: number, colour: string, thickness = 1): void => {
      context.fillStyle = colour
      context.fillRect(x(position) - thickness / 2, top, thickness, height - top - 6)
    }
    const thickness = Math.min(6, Math.max(1, (0.5 * width) / view.frames.length))
    for (const frame of view.frames) {
      if (frame.isDelta) mark(view.positionOf(frame), 17, theme.delta, thickness)
    }
    for (const frame of view.frames)
      if (!frame.isDelta) mark(view.positionOf(frame), 10, theme.full, thickness)
    for (const frame of view.frames)
      if (frame.damage !== undefined) mark(view.positionOf(frame), 8, theme.bad, Math.max(2, thickness))
    const [begin, end] = [x(view.range.from), x(view.range.to)]
    context.fillStyle = theme.surface
    context.globalAlpha = 0.72
    context.fillRect(left, 2, begin - left, height - 4)
    context.fillRect(end, 2, left + width - end, height - 4)
    context.globalAlpha = 1
    context.strokeStyle = theme.muted
    context.lineWidth = 1
    context.beginPath()
    context.roundRect(begin + 0.5, 2.5, Math.max(1, end - begin - 1), height - 5, 4)
    context.stroke()
    for (const edge of [begin, end]) {
      context.fillStyle = theme.muted
      context.beginPath()
      context.roundRect(edge - 2.5, height / 2 - 7, 5, 14, 2.5)
      context.fill()
    }
    mark(view.positionOf(selected), 4, theme.chosen, 2)
  }
}

function cursorOf({ kind }: Hold): string {
  return kind === 'move' ? 'grab' : kind === 'draw' ? 'crosshair' : 'ew-resize'
}

function drawAxis(drawing: Drawing): void {
  const { context, theme, x, left, width } = drawing
  context.textBaseline = 'top'
  for (const { at, text, below } of ticksOf(drawing)) {
    const where = x(at)
    context.fillStyle = theme.line
    context.fillRect(Math.round(where), 0, 1, 5)
    const half = Math.max(context.measureText(text).width, context.measureText(below).width) / 2
    // Labels at the ends are not cut off.
    const middle = Math.min(Math.max(where, left - 40 + half), left + width + plotRight - half)
    context.textAlign = 'center'
    context.fillStyle = theme.ink
    context.fillText(text, middle, 7)
    context.fillStyle = theme.muted
    context.fillText(below, middle, 20)
  }
}
