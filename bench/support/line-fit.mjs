// Fits a straight line through measured points, by least squares.

/**
 * For `[[x, y], …]`: `at(x)`, the value of the line at x, and `residual`, the distance of the
 * points.
 */
export const fitLine = (points) => {
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length
  const x = mean(points.map(([each]) => each))
  const y = mean(points.map(([, each]) => each))
  const slope =
    points.reduce((sum, [px, py]) => sum + (px - x) * (py - y), 0) /
    points.reduce((sum, [px]) => sum + (px - x) ** 2, 0)
  const intercept = y - slope * x
  const at = (where) => intercept + slope * where
  const squares = points.map(([px, py]) => (py - at(px)) ** 2)
  // The two parameters are taken from the points; the remaining degrees of freedom give the
  // residual.
  const freedom = Math.max(1, points.length - 2)
  return {
    slope,
    intercept,
    at,
    residual: Math.sqrt(squares.reduce((sum, each) => sum + each, 0) / freedom),
  }
}
