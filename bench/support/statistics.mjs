// Statistics of a list of measured values.

/** The smallest value that a share q of all values does not exceed; `sorted` is ascending. */
export const quantile = (sorted, q) => sorted[Math.max(0, Math.ceil(sorted.length * q) - 1)]

/** Summarizes a list of numbers, in any order. */
export const summary = (values) => {
  const sorted = Float64Array.from(values).sort()
  return {
    count: sorted.length,
    min: sorted[0],
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    p999: quantile(sorted, 0.999),
    max: sorted.at(-1),
  }
}
