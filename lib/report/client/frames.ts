/** The frames of the page, in the form that the charts use. */

import { decodeLevels, elsewhere, nameOf, none, type PageData } from '../page-data.js'

/** One frame. Sizes are in bytes; null means unknown. */
export interface Frame {
  index: number
  number: number
  name: string
  id: string
  /** Freeze time, in milliseconds since 1970. */
  at: number
  isDelta: boolean
  parent: Frame | undefined
  /** True if it builds on a frame that is not in the page. */
  isOrphan: boolean
  /** Frames that build directly on it. */
  children: Frame[]
  /** Number of files to read for it, including its own, as far as known. */
  depth: number
  byteLength: number | null
  changedBytes: number | null
  fileSize: number
  pauseMs: number | null
  durationMs: number | null
  engine: string | undefined
  hasState: boolean
  keptBecause: string[]
  damage: string | undefined
  /** The nearest damaged frame that it builds on. */
  damagedParent: Frame | undefined
  sections: { name: string; byteLength: number }[]
  /** Number of further sections, which are not named. */
  moreSections: number
}

/** One section of the heat map. */
export interface HeatSection {
  name: string
  byteLength: number
  pieceBytes: number
  pieces: number
  /** Levels by frame; undefined for frames that were not compared. */
  columns: (number[] | undefined)[]
}

/** Decodes the frames of a page. */
export function readFrames(data: PageData): Frame[] {
  let at = 0
  const frames = data.number.map((number, index): Frame => {
    at += data.sinceBefore[index] ?? 0
    const set = data.sectionSets[data.sections[index] ?? none]
    return {
      index,
      number,
      name: data.name[index] || nameOf(number),
      id: data.id[index] ?? '',
      at,
      isDelta: data.isDelta[index] === 1,
      parent: undefined,
      isOrphan: data.parent[index] === elsewhere,
      children: [],
      depth: 1,
      byteLength: data.byteLength[index] ?? null,
      changedBytes: data.changedBytes[index] ?? null,
      fileSize: data.fileSize[index] ?? 0,
      pauseMs: data.pauseMs[index] ?? null,
      durationMs: data.durationMs[index] ?? null,
      engine: data.texts[data.engine[index] ?? none],
      hasState: data.hasState[index] === 1,
      keptBecause: (data.keptBecause[index] ?? []).map((text) => data.texts[text] ?? ''),
      damage: data.damage[index],
      damagedParent: undefined,
      sections: (set?.sections ?? []).map(([name, byteLength]) => ({
        name: data.texts[name] ?? '',
        byteLength,
      })),
      moreSections: set?.more ?? 0,
    }
  })
  link(frames, data.parent)
  return frames
}

/** Decodes the heat map of a page. */
export function readHeat(data: PageData): HeatSection[] {
  return data.heat.map((section) => ({
    ...section,
    columns: section.columns.map((text) => (text === '' ? undefined : decodeLevels(text))),
  }))
}

/** The frame and the frames that it builds on, as far as known. */
export function chainOf(frame: Frame): Frame[] {
  const chain = [frame]
  for (let next = frame.parent; next !== undefined && !chain.includes(next); next = next.parent)
    chain.push(next)
  return chain
}

function link(frames: readonly Frame[], parents: readonly number[]): void {
  for (const frame of frames) {
    frame.parent = frames[parents[frame.index] ?? none]
    frame.parent?.children.push(frame)
  }
  // From the roots down: parent ids in files may form cycles, which are never reached this way.
  const waiting = frames.filter(({ parent }) => parent === undefined)
  for (let frame = waiting.pop(); frame !== undefined; frame = waiting.pop()) {
    for (const child of frame.children) {
      child.depth = frame.depth + 1
      child.damagedParent = frame.damage === undefined ? frame.damagedParent : frame
      waiting.push(child)
    }
  }
}
