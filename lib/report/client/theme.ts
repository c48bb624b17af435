/** Colors of the charts, taken from the style sheet, light or dark. */

import { topLevel } from '../page-data.js'

/** Read again whenever the style may have changed. */
export interface Theme {
  ink: string
  muted: string
  line: string
  surface: string
  chosen: string
  full: string
  delta: string
  pause: string
  bad: string
  kept: string
  font: string
  /** By level, as red, green and blue. */
  heat: Rgb[]
  /** The color of pieces that were not compared. */
  unknown: Rgb
}

export type Rgb = readonly [red: number, green: number, blue: number]

export function readTheme(): Theme {
  const style = getComputedStyle(document.documentElement)
  const value = (name: string): string => style.getPropertyValue(`--${name}`).trim()
  const stops = value('heat').split(' ').map(parseColour)
  return {
    ink: value('ink'),
    muted: value('muted'),
    line: value('line'),
    surface: value('surface'),
    chosen: value('chosen'),
    full: value('full'),
    delta: value('delta'),
    pause: value('pause'),
    bad: value('bad'),
    kept: value('kept'),
    font: style.fontFamily,
    // The first stop means no change at all, and is distinct from the rest.
    heat: Array.from({ length: topLevel + 1 }, (_, level) =>
      level === 0 ? (stops[0] ?? [0, 0, 0]) : between(stops.slice(1), (level - 1) / (topLevel - 1)),
    ),
    unknown: parseColour(value('unknown')),
  }
}

export function css([red, green, blue]: Rgb): string {
  return `rgb(${red} ${green} ${blue})`
}

function parseColour(text: string): Rgb {
  const part = (at: number): number => Number.parseInt(text.slice(at, at + 2), 16)
  return [part(1), part(3), part(5)]
}

function between(stops: readonly Rgb[], where: number): Rgb {
  const at = where * (stops.length - 1)
  const first = Math.min(Math.floor(at), stops.length - 2)
  const [a, b] = [stops[first] ?? [0, 0, 0], stops[first + 1] ?? [0, 0, 0]]
  const mix = (channel: 0 | 1 | 2): number =>
    Math.round(a[channel] + (b[channel] - a[channel]) * (at - first))
  return [mix(0), mix(1), mix(2)]
}
