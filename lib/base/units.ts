/** Formats bytes, times and counts for people, in a terminal or on a page. */

const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB']

/** `1536` → `'1.5 KiB'`: three significant digits, whole numbers without a fraction. */
export function formatBytes(bytes: number): string {
  let value = bytes
  let unit = 0
  while (value >= 1024 && unit < binaryUnits.length - 1) {
    value /= 1024
    unit += 1
  }
  // 1023.7 would be shown as '1024', which belongs to the next unit.
  if (unit > 0 && Math.round(value) === 1024 && unit < binaryUnits.length - 1) {
    value = 1
    unit += 1
  }
  return `${formatNumber(value)} ${binaryUnits[unit]}`
}

/**
 * Three significant digits, no trailing zeros, thousands separated: `0.25`, `3.14`, `104`,
 * `12,345`.
 */
export function formatNumber(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2
  return value.toLocaleString('en-US', { maximumFractionDigits: digits })
}

/** A whole number with thousands separated. */
export function formatCount(value: number): string {
  return value.toLocaleString('en-US', { maximumFractionDigits: 0 })
}

/** `1 section`, `2 sections`. */
export function count(number: number, noun: string): string {
  return `${formatCount(number)} ${noun}${number === 1 ? '' : 's'}`
}

/** Milliseconds with as many digits as are meaningful: `0.042`, `3.14`, `104`, `4,412`. */
export function formatMs(ms: number): string {
  const digits = ms >= 100 ? 0 : ms >= 10 ? 1 : ms >= 1 ? 2 : 3
  return ms.toLocaleString('en-US', { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

/** A duration in a suitable unit: `'740 ms'`, `'12.4 s'`. */
export function formatDuration(ms: number): string {
  return ms < 1000 ? `${formatMs(ms)} ms` : `${formatNumber(ms / 1000)} s`
}

/** An offset in a file, in both notations that tools expect. */
export function formatOffset(offset: number): string {
  return `${formatCount(offset)} (0x${offset.toString(16)})`
}
