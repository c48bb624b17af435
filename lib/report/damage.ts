/** Groups damaged frames by cause: a damaged frame makes every frame that builds on it unusable. */

import type { ReportFrame } from './data.js'

/** A damaged frame, and the frames lost because they build on it. */
export interface DamageCause {
  frame: ReportFrame
  lost: ReportFrame[]
}

/** The causes, in the order of the frames. */
export function causesOf(frames: readonly ReportFrame[]): DamageCause[] {
  const causes = new Map<string, DamageCause>()
  const found: DamageCause[] = []
  for (const frame of frames) {
    if (frame.damage === undefined) continue
    // Parents are normally older than their children. If the clock says otherwise, each frame is
    // reported by itself.
    const known = frame.parentId === undefined ? undefined : causes.get(frame.parentId)
    const cause = known ?? { frame, lost: [] }
    if (known === undefined) found.push(cause)
    else known.lost.push(frame)
    if (frame.id !== undefined) causes.set(frame.id, cause)
  }
  return found
}
