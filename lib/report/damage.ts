/** Which damage is the cause of which: a frame is lost with the one that it builds on. */

import type { ReportFrame } from './data.js'

/** A damaged frame, and the damaged ones that build on it. */
export interface DamageCause {
  frame: ReportFrame
  lost: ReportFrame[]
}

/** In the order of the frames. */
export function causesOf(frames: readonly ReportFrame[]): DamageCause[] {
  const causes = new Map<string, DamageCause>()
  const found: DamageCause[] = []
  for (const frame of frames) {
    if (frame.damage === undefined) continue
    // Parents are older than what builds on them; where the clock says otherwise, each is told by itself.
    const known = frame.parentId === undefined ? undefined : causes.get(frame.parentId)
    const cause = known ?? { frame, lost: [] }
    if (known === undefined) found.push(cause)
    else known.lost.push(frame)
    if (frame.id !== undefined) causes.set(frame.id, cause)
  }
  return found
}
