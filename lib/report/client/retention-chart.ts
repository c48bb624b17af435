/** Shows why each frame is kept, with a line for each rule. */

import type { Frame } from './frames.js'
import { type Chart, clipped, type Drawing, drawLabel, framesInSight, roomOf } from './plot.js'

const rowHeight = 20
const mostRules = 12
/** The order of the options; other reasons come after these. */
const order = [
  'newest',
  'newest whole',
  'last',
  'within',
  'older than the window',
  'hourly',
  'daily',
  'weekly',
]

/** Returns undefined if no frame has a reason. */
export function retentionChart(frames: readonly Frame[]): Chart | undefined {
  const rules = [...new Set(frames.flatMap(({ keptBecause }) => keptBecause.map(ruleOf)))]
    .sort((a, b) => rank(a) - rank(b))
    .slice(0, mostRules)
  if (rules.length === 0) return undefined
  const kept = frames.map(({ keptBecause }) => new Set(keptBecause.map(ruleOf)))
  const count = (rule: string): number => kept.filter((of) => of.has(rule)).length
  return {
    title: 'Retention: the rules that keep each frame',
    label: `Retention. ${rules.map((rule) => `${rule}: ${count(rule)} frames`).join('; ')}.`,
    height: rules.length * rowHeight + 4,
    draw(drawing) {
      for (const [row, rule] of rules.entries()) {
        const y = row * rowHeight + rowHeight / 2 + 2
        drawLabel(drawing, rule, y)
        clipped(drawing, () => drawRow(drawing, y, (frame) => kept[frame.index]?.has(rule) ?? false))
      }
    },
    describe: ({ keptBecause }) =>
      keptBecause.length === 0 ? 'kept by no rule' : `kept: ${keptBecause.join(', ')}`,
  }
}

/** The rule of a reason: `daily` for `daily 2026-11-30`. Details may also follow after a comma. */
function ruleOf(reason: string): string {
  return reason.replace(/(?:\s+\d|,).*$/, '')
}

function rank(rule: string): number {
  const at = order.indexOf(rule)
  return at === -1 ? order.length : at
}

function drawRow(drawing: Drawing, y: number, isKept: (frame: Frame) => boolean): void {
  const { context, theme, left, width, x, view, selected, hovered } = drawing
  context.fillStyle = theme.line
  context.fillRect(left, Math.round(y), width, 1)
  const half = Math.min(7, Math.max(0.75, roomOf(drawing) * 0.36))
  for (const frame of framesInSight(drawing)) {
    if (!isKept(frame)) continue
    context.fillStyle = frame === selected || frame === hovered ? theme.chosen : theme.kept
    context.beginPath()
    context.roundRect(x(view.positionOf(frame)) - half, y - 5, 2 * half, 11, half > 3 ? 3 : 0)
    context.fill()
  }
}
