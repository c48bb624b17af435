// Plots as SVG, rendered without a browser.
import * as echarts from 'echarts'

// An engine looks the same in every plot. The colors are also distinct for red-green color
// blindness.
const looks = {
  fork: ['#444444', 'circle'],
  mprotect: ['#d55e00', 'rect'],
  'userfaultfd thread': ['#0072b2', 'triangle'],
  'userfaultfd signal': ['#009e73', 'diamond'],
}
// The looks of all other series, in this order.
const otherLooks = [
  ['#cc79a7', 'emptyCircle'],
  ['#e69f00', 'emptyRect'],
  ['#8c564b', 'emptyTriangle'],
  ['#56b4e9', 'emptyDiamond'],
  ['#7f7f7f', 'pin'],
  ['#b3a100', 'arrow'],
]

/** Rounds to three digits, which removes the artifacts of computing powers of ten. */
const plain = (value) => (typeof value === 'number' ? String(Number(value.toPrecision(3))) : value)

/**
 * An axis: `{ title, log, base, min, names, label }`. `names` makes it a category axis, `label`
 * formats.
 */
const axis = ({ title, log, base = 10, names, min, label = plain }, gap) => ({
  type: names ? 'category' : log ? 'log' : 'value',
  logBase: base,
  data: names,
  min,
  name: title,
  nameLocation: 'middle',
  nameGap: gap,
  nameTextStyle: { fontSize: 14, color: '#222' },
  axisLabel: { fontSize: 12, color: '#222', formatter: label, hideOverlap: true },
  axisLine: { show: true, onZero: false, lineStyle: { color: '#666' } },
  axisTick: { show: true },
  splitLine: { show: true, lineStyle: { color: '#e4e4e4' } },
  minorTick: { show: log === true && base === 10, splitNumber: 9 },
  boundaryGap: names ? false : undefined,
})

/** The parts common to both kinds of plot. */
const frame = ({ title, subtitle, x, y, icon }) => ({
  animation: false,
  backgroundColor: '#ffffff',
  title: { text: title, subtext: subtitle, left: 20, top: 12, textStyle: { fontSize: 17 } },
  // In its own column, so that no name is too long for its neighbor.
  legend: { orient: 'vertical', left: 784, top: 76, itemGap: 14, textStyle: { fontSize: 13 }, ...icon },
  grid: { left: 84, right: 276, top: 76, bottom: 66 },
  xAxis: axis(x, 38),
  yAxis: axis(y, 58),
})

const render = (option) => {
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 1040, height: 540 })
  chart.setOption(option)
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}

const line = ({ name, points, look = name }, others, markers) => {
  const [colour, symbol] = looks[look] ?? otherLooks[others.indexOf(look) % otherLooks.length]
  return {
    name,
    type: 'line',
    data: points,
    color: colour,
    lineStyle: { width: 2 },
    symbol: markers ? symbol : 'none',
    symbolSize: 8,
  }
}

/**
 * `series`: `[{ name, points: [[x, y], …], look }]`; `look`, or else `name`, is an engine. Returns
 * SVG.
 */
export const linePlot = ({ title, subtitle, x, y, series, markers = true }) => {
  const drawn = series.filter(({ points }) => points.length > 0)
  const others = drawn.map(({ name, look = name }) => look).filter((look) => !(look in looks))
  return render({
    ...frame({ title, subtitle, x, y, icon: markers ? {} : { icon: 'rect', itemHeight: 4 } }),
    series: drawn.map((each) => line(each, others, markers)),
  })
}

const barColours = ['#0072b2', '#e69f00', '#009e73']

/**
 * A group of bars for each of `names`. `series`: `[{ name, values }]`, with one value for each
 * name. Returns SVG.
 */
export const barPlot = ({ title, subtitle, y, names, series }) => {
  const plot = frame({ title, subtitle, x: { names }, y: { min: 0, ...y } })
  // Names of bars are long, so they are on the left and the bars are horizontal.
  const lying = { ...plot.xAxis, inverse: true, axisTick: { show: false }, splitLine: { show: false } }
  const values = { ...plot.yAxis, nameGap: 38 }
  return render({
    ...plot,
    grid: { ...plot.grid, left: 250, right: 200 },
    legend: { ...plot.legend, left: 860 },
    xAxis: values,
    yAxis: { ...lying, boundaryGap: true },
    series: series.map((each, index) => ({
      name: each.name,
      type: 'bar',
      color: barColours[index % barColours.length],
      data: each.values.map((value) => (Number.isFinite(value) ? Math.round(value) : null)),
      label: { show: true, position: 'right', fontSize: 11, color: '#222' },
    })),
  })
}
