/** Draws the report from the data in the page. */

import { count, formatBytes, formatNumber } from '../../base/units.js'
import type { PageData } from '../page-data.js'
import { barsChart } from './bars-chart.js'
import { chainsChart } from './chains-chart.js'
import { describeFrame } from './describe.js'
import { Details } from './details.js'
import { button, element, quoted } from './dom.js'
import { type Frame, type HeatSection, readFrames, readHeat } from './frames.js'
import { listenToKeys, listenToPointers, listenToWheel } from './gestures.js'
import { HeatLegend, heatChart } from './heat-chart.js'
import { Overview } from './overview.js'
import { Plot, plotLeft, plotRight, type Stage } from './plot.js'
import { retentionChart } from './retention-chart.js'
import { frameTable } from './table.js'
import { readTheme } from './theme.js'
import { Tip } from './tip.js'
import { type Scale, View } from './view.js'

const data = JSON.parse(document.getElementById('data')?.textContent ?? '') as PageData
const frames = readFrames(data)
const newest = frames.at(-1)
if (newest !== undefined) start(newest, readHeat(data))

function start(newest: Frame, heat: readonly HeatSection[]): void {
  const view = new View(frames)
  const stage: Stage = { view, theme: readTheme(), selected: newest, hovered: undefined }
  const legend = new HeatLegend()
  const plots = makePlots(heat, legend)
  const overview = new Overview(view)
  const tip = new Tip()
  const marked = element('div', { class: 'marked', 'aria-hidden': 'true' })
  const details = new Details((by) => step(by))
  const toolbar = makeToolbar(view)
  const charts = element('div', { class: 'charts' }, ...plots.map(({ figure }) => figure), makeHint(), marked)
  const slider = element('div', {
    class: 'slider',
    role: 'slider',
    tabindex: 0,
    'aria-label': 'Frame. Arrow keys select, plus and minus zoom, 0 shows all',
    'aria-valuemin': 1,
    'aria-valuemax': frames.length,
  })
  slider.append(overview.root)

  let isDue = false
  const redraw = (): void => {
    if (isDue) return
    isDue = true
    requestAnimationFrame(() => {
      isDue = false
      drawAll()
    })
  }
  const drawAll = (): void => {
    overview.draw(stage)
    for (const plot of plots) plot.draw(stage)
    toolbar.update()
  }
  const choose = (frame: Frame): void => {
    stage.selected = frame
    slider.setAttribute('aria-valuenow', String(frame.index + 1))
    slider.setAttribute('aria-valuetext', describeFrame(frame))
    details.show(frame)
    redraw()
  }
  const step = (by: number): void => {
    const index = Math.min(Math.max(stage.selected.index + by, 0), frames.length - 1)
    const frame = frames[index]
    if (frame === undefined) return
    choose(frame)
    view.reveal(frame)
  }

  view.onChange = redraw
  listenToWheel(slider, view, false)
  listenToKeys(slider, view, step, () => view.positionOf(stage.selected))
  listenToPointers(charts, view, {
    point(position, event) {
      const frame = view.nearest(position)
      const plot = plots.find(({ canvas }) => canvas === event.target)
      if (frame !== stage.hovered) redraw()
      stage.hovered = frame
      const y = event.clientY - (plot?.canvas.getBoundingClientRect().top ?? 0)
      if (frame === undefined || event.pointerType !== 'mouse') tip.hide()
      else tip.show(frame, plot?.chart.describe?.(frame, y), event.clientX, event.clientY)
    },
    leave() {
      stage.hovered = undefined
      tip.hide()
      redraw()
    },
    choose(position) {
      const frame = view.nearest(position)
      if (frame !== undefined) choose(frame)
    },
    mark(range) {
      marked.hidden = range === undefined
      if (range === undefined) return
      const width = charts.clientWidth
      const plot = width - plotLeft(width) - plotRight
      const place = (position: number): number =>
        plotLeft(width) + ((position - view.range.from) / (view.range.to - view.range.from)) * plot
      const from = Math.max(plotLeft(width), place(range.from))
      marked.style.left = `${from}px`
      marked.style.width = `${Math.min(place(range.to), width - plotRight) - from}px`
    },
  })

  const table = frameTable(frames, (frame) => {
    choose(frame)
    view.reveal(frame)
    details.root.classList.add('open')
  })
  const board = element(
    'section',
    { class: 'board panel', 'aria-labelledby': 'timeline-title' },
    element(
      'div',
      { class: 'sticky' },
      element(
        'div',
        { class: 'board-head' },
        element('h2', { id: 'timeline-title' }, 'Timeline'),
        toolbar.root,
      ),
      slider,
    ),
    charts,
  )
  document
    .getElementById('app')
    ?.append(element('div', { class: 'columns' }, board, details.root), table, tip.root)
  marked.hidden = true
  choose(newest)
  drawAll()
  legend.draw()

  new ResizeObserver(redraw).observe(charts)
  const restyle = (): void => {
    stage.theme = readTheme()
    legend.draw()
    drawAll()
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', restyle)
  window.addEventListener('beforeprint', () => {
    document.documentElement.dataset['theme'] = 'print'
    restyle()
  })
  window.addEventListener('afterprint', () => {
    delete document.documentElement.dataset['theme']
    restyle()
  })
}

function makePlots(heat: readonly HeatSection[], legend: HeatLegend): Plot[] {
  const hasChanges = frames.some(({ changedBytes }) => changedBytes !== null)
  const plots = [
    new Plot(chainsChart(frames)),
    new Plot(
      barsChart(frames, {
        title: 'Size on disk',
        label: 'The size of each frame on disk, and how many bytes changed.',
        value: ({ fileSize }) => fileSize,
        line: ({ changedBytes }) => changedBytes,
        colour: ({ isDelta }, theme) => (isDelta ? theme.delta : theme.full),
        format: formatBytes,
        base: 1024,
        legend: { full: 'full', delta: 'delta', ...(hasChanges && { line: 'changed memory' }) },
      }),
    ),
  ]
  if (frames.some(({ pauseMs }) => pauseMs !== null)) {
    plots.push(
      new Plot(
        barsChart(frames, {
          title: 'Pause of the service',
          label: 'How long each capture paused the service, in milliseconds.',
          value: ({ pauseMs }) => pauseMs,
          colour: (_, theme) => theme.pause,
          format: (ms) => `${ms < 0.1 ? ms : formatNumber(ms)} ms`,
          base: 10,
        }),
      ),
    )
  }
  for (const [index, section] of heat.entries()) {
    const name = element(
      'span',
      { class: 'section-name' },
      quoted(section.name),
      element(
        'span',
        { class: 'remark' },
        `${formatBytes(section.byteLength)}, ${formatBytes(section.pieceBytes)} a row`,
      ),
    )
    const plot = new Plot(heatChart(section, name))
    if (index === 0) {
      plot.figure
        .querySelector('figcaption')
        ?.prepend(
          element(
            'div',
            { class: 'heat-head' },
            element('h3', {}, 'Memory: what changed since the frame before'),
            legend.root,
          ),
        )
    }
    plot.figure.querySelector('figcaption > h3')?.remove()
    plots.push(plot)
  }
  const retention = retentionChart(frames)
  if (retention !== undefined) plots.push(new Plot(retention))
  return plots
}

function makeHint(): HTMLElement {
  const key = (name: string): HTMLElement => element('kbd', {}, name)
  return element(
    'p',
    { class: 'hint remark' },
    'Drag to zoom, or ',
    key('Ctrl'),
    ' and the wheel; double-click shows all. On the bar above: ',
    key('←'),
    ' ',
    key('→'),
    ' select a frame, ',
    key('+'),
    ' ',
    key('−'),
    ' zoom.',
  )
}

function makeToolbar(view: View): { root: HTMLElement; update(): void } {
  const middle = (): number => (view.range.from + view.range.to) / 2
  const all = button('All', 'Show all frames', () => view.showAll())
  const scales = (['time', 'frame'] as const).map((scale): [Scale, HTMLButtonElement] => [
    scale,
    scale === 'time'
      ? button('By time', 'By time: frames are placed at their times', () => view.setScale(scale))
      : button('By frame', 'By frame: all have the same width', () => view.setScale(scale)),
  ])
  const state = element('p', { class: 'state remark', role: 'status' })
  const root = element(
    'div',
    { class: 'toolbar', role: 'group', 'aria-label': 'View' },
    state,
    element('div', { class: 'buttons' }, ...scales.map(([, made]) => made)),
    element(
      'div',
      { class: 'buttons' },
      button('−', 'Zoom out', () => view.zoom(1 / 0.6, middle())),
      button('+', 'Zoom in', () => view.zoom(0.6, middle())),
      all,
    ),
  )
  return {
    root,
    update() {
      const [first, end] = view.visible()
      const [from, to] = [frames[first], frames[end - 1]]
      const text =
        view.isWhole || from === undefined || to === undefined || end <= first
          ? count(frames.length, 'frame')
          : `frames ${first + 1} – ${end} of ${frames.length}`
      if (state.textContent !== text) state.textContent = text
      all.disabled = view.isWhole
      for (const [scale, made] of scales) made.setAttribute('aria-pressed', String(scale === view.scale))
    },
  }
}
