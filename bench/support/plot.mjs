// Plots as SVG, rendered without a browser.
import * as echarts from 'echarts'

// An engine looks the same in every plot. Colours are apart also for eyes that do not tell red from green.
const looks = {
  fork: ['#444444', 'circle'],
  mprotect: ['#d55e00', 'rect'],
  'userfaultfd thread': ['#0072b2', 'triangle'],
  'userfaultfd signal': ['#009e73', 'diamond'],
}
const anythingElse = ['#cc79a7', 'emptyCircle']

/** Without the digits that come from computing powers of ten. */
const plain = (value) => (typeof value === 'number' ? String(Number(value.toPrecision(3))) : value)

/** An axis: `{ title, log, base, min, names, label }`; names make it one of categories, `label` formats. */
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

const line = ({ name, points, look = name }, markers) => {
  const [colour, symbol] = looks[look] ?? anythingElse
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

/** `series`: `[{ name, points: [[x, y], …], look }]`; `look`, or else `name`, is an engine. Returns SVG. */
export const linePlot = ({ title, subtitle, x, y, series, markers = true }) => {
  const icon = markers ? {} : { icon: 'rect', itemHeight: 4 }
  const chart = echarts.init(null, null, { renderer: 'svg', ssr: true, width: 1040, height: 540 })
  chart.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    title: { text: title, subtext: subtitle, left: 20, top: 12, textStyle: { fontSize: 17 } },
    // In a column of its own: no name is too long for its neighbour.
    legend: { orient: 'vertical', left: 784, top: 76, itemGap: 14, textStyle: { fontSize: 13 }, ...icon },
    grid: { left: 84, right: 276, top: 76, bottom: 66 },
    xAxis: axis(x, 38),
    yAxis: axis(y, 58),
    series: series.filter(({ points }) => points.length > 0).map((each) => line(each, markers)),
  })
  const svg = chart.renderToSVGString()
  chart.dispose()
  return svg
}
