/** Describes a frame in words. */

import { count, formatBytes, formatDuration, formatMs } from '../../base/units.js'
import { chainOf, type Frame } from './frames.js'
import { formatInstant, formatShort } from './times.js'

/** Describes a frame in one line. */
export function describeFrame(frame: Frame): string {
  const state = frame.damage === undefined ? '' : `, cannot be restored: ${frame.damage}`
  return `${frame.name}, ${formatShort(frame.at)} UTC, ${kindOf(frame)}, ${sizeOf(frame)}${state}`
}

export function kindOf({ isDelta }: Frame): string {
  return isDelta ? 'delta' : 'full'
}

export function sizeOf({ fileSize, pauseMs }: Frame): string {
  return `${formatBytes(fileSize)} on disk${pauseMs === null ? '' : `, pause ${formatMs(pauseMs)} ms`}`
}

/** Everything known about a frame: pairs of a label and a text. */
export function factsOf(frame: Frame): [label: string, text: string][] {
  const facts: [string, string | undefined | false][] = [
    ['Frozen at', formatInstant(frame.at)],
    ['Kind', describeKind(frame)],
    ['Memory', frame.byteLength !== null && formatBytes(frame.byteLength)],
    ['Changed', describeChange(frame)],
    ['On disk', formatBytes(frame.fileSize)],
    ['Pause', frame.pauseMs !== null && `${formatMs(frame.pauseMs)} ms`],
    ['Written in', frame.durationMs !== null && formatDuration(frame.durationMs)],
    ['Engine', frame.engine],
    ['Objects', frame.hasState && 'JavaScript state of the same instant'],
    ['Needed by', frame.children.length > 0 && describeDependents(frame)],
    ['Sections', frame.sections.length > 0 && describeSections(frame)],
    ['Id', frame.id !== '' && frame.id],
  ]
  return facts.flatMap(([label, text]) =>
    text === undefined || text === false ? [] : [[label, text] as const],
  ) as [string, string][]
}

function describeKind(frame: Frame): string {
  if (!frame.isDelta) return 'full: stands alone'
  if (frame.parent === undefined) return 'delta on a missing frame'
  const files = chainOf(frame).length
  return `delta on ${frame.parent.name}; ${count(files, 'file')} to read`
}

function describeChange({ changedBytes, byteLength }: Frame): string | undefined {
  if (changedBytes === null) return undefined
  if (!byteLength) return formatBytes(changedBytes)
  const percent = (100 * changedBytes) / byteLength
  const share = percent === 0 ? '0' : percent < 0.1 ? 'under 0.1' : percent.toFixed(1)
  return `${formatBytes(changedBytes)}, ${share} % of the memory`
}

function describeDependents(frame: Frame): string {
  const all = new Set<Frame>()
  const waiting = [...frame.children]
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (all.has(next)) continue
    all.add(next)
    waiting.push(...next.children)
  }
  return `${count(all.size, 'frame')} built on it`
}

function describeSections({ sections, moreSections }: Frame): string {
  const named = sections.slice(0, 6).map(({ name, byteLength }) => `${name} (${formatBytes(byteLength)})`)
  const more = sections.length - named.length + moreSections
  return `${named.join(', ')}${more > 0 ? ` and ${count(more, 'more section')}` : ''}`
}
