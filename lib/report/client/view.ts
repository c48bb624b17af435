/** Which range of frames is shown, and the position of each frame. */

import type { Frame } from './frames.js'

/** `'frame'`: frames are equally spaced. `'time'`: frames are placed by their freeze times. */
export type Scale = 'frame' | 'time'

/** In units of the scale: frames, or milliseconds. */
export interface Range {
  from: number
  to: number
}

/** Number of frames shown at the highest zoom. */
const fewestFrames = 3
/** Shortest range of the time scale, in milliseconds: no service captures more often. */
const shortestMs = 20

/** The view shared by all charts. */
export class View {
  readonly frames: readonly Frame[]
  scale: Scale
  range: Range
  /** Called after each change. */
  onChange: () => void = () => {}

  constructor(frames: readonly Frame[]) {
    this.frames = frames
    this.scale = isEven(frames) ? 'time' : 'frame'
    this.range = this.whole
  }

  /** All frames, with some room at both ends. */
  get whole(): Range {
    if (this.scale === 'frame') return { from: -0.5, to: this.frames.length - 0.5 }
    const [first = 0, last = 0] = [this.frames.at(0)?.at, this.frames.at(-1)?.at]
    const room = Math.max((last - first) * 0.02, shortestMs)
    return { from: first - room, to: last + room }
  }

  get isWhole(): boolean {
    const { from, to } = this.whole
    return this.range.from <= from && this.range.to >= to
  }

  positionOf(frame: Frame): number {
    return this.scale === 'frame' ? frame.index : frame.at
  }

  /** Indexes of the first frame in the range and of the first one after it. */
  visible(): [first: number, end: number] {
    return [this.#indexAt(this.range.from), this.#indexAt(this.range.to)]
  }

  /** The frame nearest to a position. */
  nearest(position: number): Frame | undefined {
    const index = this.#indexAt(position)
    const [before, after] = [this.frames[index - 1], this.frames[index]]
    if (before === undefined || after === undefined) return before ?? after
    return position - this.positionOf(before) <= this.positionOf(after) - position ? before : after
  }

  /** Shows this range, limited to the existing frames. */
  show({ from, to }: Range): void {
    const whole = this.whole
    const shortest = Math.min(this.scale === 'frame' ? fewestFrames : shortestMs, whole.to - whole.from)
    let length = Math.min(Math.max(to - from, shortest), whole.to - whole.from)
    let start = (from + to) / 2 - length / 2
    start = Math.min(Math.max(start, whole.from), whole.to - length)
    if (start + length > whole.to) length = whole.to - start
    this.range = { from: start, to: start + length }
    this.onChange()
  }

  /** Multiplies the length of the range by `factor`; `position` stays in place. */
  zoom(factor: number, position: number): void {
    const { from, to } = this.range
    this.show({ from: position + (from - position) * factor, to: position + (to - position) * factor })
  }

  /** Moves by a fraction of the visible range. */
  pan(part: number): void {
    const { from, to } = this.range
    const by = part * (to - from)
    // At either end, the range keeps its length.
    const { from: first, to: last } = this.whole
    const moved = Math.min(Math.max(by, first - from), last - to)
    this.show({ from: from + moved, to: to + moved })
  }

  showAll(): void {
    this.show(this.whole)
  }

  /** Moves as little as needed to make the frame visible. */
  reveal(frame: Frame): void {
    const { from, to } = this.range
    const position = this.positionOf(frame)
    const margin = (to - from) * 0.06
    if (position < from) this.pan((position - margin - from) / (to - from))
    else if (position > to) this.pan((position + margin - to) / (to - from))
  }

  /** Changes the scale and keeps the same frames visible. */
  setScale(scale: Scale): void {
    if (scale === this.scale) return
    const isWhole = this.isWhole
    const [first, end] = this.visible()
    this.scale = scale
    const [a, b] = [this.frames[first], this.frames[end - 1]]
    if (isWhole || a === undefined || b === undefined) {
      this.showAll()
      return
    }
    const [from, to] = [this.positionOf(a), this.positionOf(b)]
    const room = scale === 'frame' ? 0.5 : Math.max((to - from) * 0.02, shortestMs)
    this.show({ from: from - room, to: to + room })
  }

  /** Index of the first frame that is not before the position. */
  #indexAt(position: number): number {
    let [low, high] = [0, this.frames.length]
    while (low < high) {
      const middle = (low + high) >> 1
      const frame = this.frames[middle]
      if (frame !== undefined && this.positionOf(frame) < position) low = middle + 1
      else high = middle
    }
    return low
  }
}

/** True if the frames are regularly spaced, so that the time scale wastes no room. */
function isEven(frames: readonly Frame[]): boolean {
  const gaps = frames.slice(1).map(({ at }, index) => at - (frames[index]?.at ?? at))
  gaps.sort((a, b) => a - b)
  const median = gaps[Math.floor(gaps.length / 2)]
  if (median === undefined) return false
  return median > 0 && gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length < 2 * median
}
