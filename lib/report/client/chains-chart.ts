/**
 * Shows how frames build on one another: the height of a frame is the number of files that
 * restoring it reads.
 */

import { element } from './dom.js'
import { chainOf, type Frame } from './frames.js'
import { type Chart, clipped, type Drawing, drawLevel, framesInSight, roomOf } from './plot.js'

const height = 132
const top = 14
const bottom = 14

export function chainsChart(frames: readonly Frame[]): Chart {
  const deepest = Math.max(1, ...frames.map(({ depth }) => depth))
  const y = (depth: number): number =>
    deepest === 1 ? height / 2 : height - bottom - ((depth - 1) / (deepest - 1)) * (height - top - bottom)
  return {
    title: 'Chains: how many files each frame is read from',
    legend: legend(frames),
    label: `Chains of ${frames.length} frames; the longest has ${deepest} files. A full frame stands alone, a delta builds on an earlier frame.`,
    height,
    draw(drawing) {
      for (const depth of levels(deepest))
        drawLevel(drawing, `${depth}${depth === 1 ? ' file' : ''}`, y(depth))
      clipped(drawing, () => {
        drawLinks(drawing, y)
        drawChain(drawing, y)
        drawMarks(drawing, y)
      })
    },
    describe: ({ depth, isDelta }) => (isDelta ? `read from ${depth} files` : 'read from this file alone'),
  }
}

function levels(deepest: number): number[] {
  if (deepest <= 4) return Array.from({ length: deepest }, (_, index) => index + 1)
  return [1, Math.round((deepest + 1) / 2), deepest]
}

function drawLinks(drawing: Drawing, y: (depth: number) => number): void {
  const { context, theme, x, view } = drawing
  context.strokeStyle = theme.delta
  context.globalAlpha = 0.55
  context.lineWidth = 1.25
  context.beginPath()
  const inSight = framesInSight(drawing)
  for (const frame of inSight) {
    // A visible frame may build on a distant one, and a distant one may build on it.
    for (const child of [frame, ...frame.children]) {
      if (child.parent === undefined) continue
      context.moveTo(x(view.positionOf(child.parent)), y(child.parent.depth))
      context.lineTo(x(view.positionOf(child)), y(child.depth))
    }
  }
  context.stroke()
  context.globalAlpha = 1
  context.strokeStyle = theme.bad
  context.setLineDash([3, 3])
  context.beginPath()
  for (const frame of inSight) {
    if (!frame.isOrphan) continue
    context.moveTo(x(view.positionOf(frame)), y(frame.depth))
    context.lineTo(x(view.positionOf(frame)) - 18, y(frame.depth))
  }
  context.stroke()
  context.setLineDash([])
}

/** Highlights the chain of the hovered or selected frame. */
function drawChain(
  { context, theme, x, view, selected, hovered }: Drawing,
  y: (depth: number) => number,
): void {
  const chain = chainOf(hovered ?? selected)
  context.strokeStyle = theme.chosen
  context.lineWidth = 2.5
  context.lineJoin = 'round'
  context.beginPath()
  for (const frame of chain) context.lineTo(x(view.positionOf(frame)), y(frame.depth))
  context.stroke()
}

function drawMarks(drawing: Drawing, y: (depth: number) => number): void {
  const { context, theme, x, view, selected, hovered } = drawing
  const radius = Math.min(4.5, Math.max(1.5, roomOf(drawing) * 0.36))
  for (const frame of framesInSight(drawing)) {
    const place: [number, number] = [x(view.positionOf(frame)), y(frame.depth)]
    if (frame.damage !== undefined) drawCross(context, place, Math.max(radius, 3.5), theme.bad, theme.surface)
    else if (frame.isDelta) drawDot(context, place, radius, theme.delta, theme.surface)
    else drawSquare(context, place, Math.max(radius, 2.5), theme.full, theme.surface)
  }
  for (const frame of new Set([selected, hovered])) {
    if (frame === undefined) continue
    context.strokeStyle = theme.chosen
    context.lineWidth = 2
    context.beginPath()
    context.arc(x(view.positionOf(frame)), y(frame.depth), Math.max(radius, 3) + 4, 0, 2 * Math.PI)
    context.stroke()
  }
}

type Place = readonly [x: number, y: number]

function drawDot(
  context: CanvasRenderingContext2D,
  [x, y]: Place,
  radius: number,
  fill: string,
  halo: string,
): void {
  context.beginPath()
  context.arc(x, y, radius, 0, 2 * Math.PI)
  context.fillStyle = fill
  context.fill()
  if (radius < 3) return
  context.strokeStyle = halo
  context.lineWidth = 1.5
  context.stroke()
}

function drawSquare(
  context: CanvasRenderingContext2D,
  [x, y]: Place,
  radius: number,
  fill: string,
  halo: string,
): void {
  context.fillStyle = fill
  context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius)
  if (radius < 3) return
  context.strokeStyle = halo
  context.lineWidth = 1.5
  context.strokeRect(x - radius, y - radius, 2 * radius, 2 * radius)
}

function drawCross(
  context: CanvasRenderingContext2D,
  [x, y]: Place,
  radius: number,
  colour: string,
  halo: string,
): void {
  for (const [stroke, width] of [
    [halo, 5],
    [colour, 2.5],
  ] as const) {
    context.strokeStyle = stroke
    context.lineWidth = width
    context.beginPath()
    context.moveTo(x - radius, y - radius)
    context.lineTo(x + radius, y + radius)
    context.moveTo(x + radius, y - radius)
    context.lineTo(x - radius, y + radius)
    context.stroke()
  }
}

function legend(frames: readonly Frame[]): HTMLElement {
  const entry = (kind: string, text: string): HTMLElement =>
    element('span', {}, element('i', { class: `key ${kind}`, 'aria-hidden': 'true' }), text)
  return element(
    'span',
    { class: 'legend' },
    entry('full', 'full'),
    frames.some(({ isDelta }) => isDelta) && entry('delta', 'delta'),
    frames.some(({ damage }) => damage !== undefined) && entry('bad', 'damaged'),
    entry('chain', 'chain of the selected frame'),
  )
}
