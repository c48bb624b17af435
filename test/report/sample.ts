/** Reports of invented places, for the page. */

import type { ReportData, ReportFrame } from '../../lib/report/data.js'

const madeAt = new Date('2026-11-30T09:30:00.000Z')
const gib = 2 ** 30

/** A repeatable number from 0 to 1. */
function chance(...parts: number[]): number {
  const mixed = parts.reduce((so, part) => Math.imul(so ^ (part + 0x9e37), 0x85ebca6b) ^ (so >>> 13), 0x12345)
  return (mixed >>> 0) / 2 ** 32
}

/** A plausible id. */
export function idOf(number: number): string {
  return `00000000-0000-4000-8000-${number.toString(16).padStart(12, '0')}`
}

/**
 * An archive of a service that appends to a table, has a hot range, and is idle at times. Every
 * 16th frame is full. Two frames are damaged, if there are enough of them.
 */
export function sampleReport(count: number, { everyMs = 15 * 60_000 } = {}): ReportData {
  const frames = Array.from({ length: count }, (_, index): ReportFrame => {
    const number = index + 1
    const isFull = index % 16 === 0
    const byteLength = 4 * gib + 2 ** 26
    const changedBytes = 4096 * Math.round(200 + 30_000 * chance(number, 1) ** 4)
    const frozenAt = new Date(
      madeAt.getTime() - 140_000 - (count - number) * everyMs - 3000 * chance(number, 7),
    )
    return {
      number,
      name: `frame ${number}`,
      id: idOf(number),
      ...(!isFull && { parentId: idOf(number - 1) }),
      frozenAt,
      kind: isFull ? 'full' : 'delta',
      byteLength,
      changedBytes,
      fileSize: isFull ? Math.round(2.6 * gib + chance(number, 2) * 2 ** 24) : changedBytes + 2 ** 17,
      pauseMs: 0.4 + 3 * chance(number, 3) ** 6 + (isFull ? 4 : 0),
      durationMs: isFull ? 4400 + 800 * chance(number, 4) : 90 + changedBytes / 2e6,
      engine: 'userfaultfd',
      hasState: index % 4 === 0,
      keptBecause: reasons(number, count, frozenAt),
      ...(count > 20 &&
        index === count - 9 && {
          damage: `section 'table': a block at offset 1,048,576 is not as it was written`,
        }),
      ...(count > 20 && index === count - 30 && { damage: 'the file is missing' }),
      sections: [
        { name: 'table', byteLength: 4 * gib },
        { name: 'index', byteLength: 2 ** 26 },
      ],
    }
  })
  return {
    place: '/var/lib/orders/archive',
    kind: 'archive',
    madeAt,
    frames,
    heat: {
      sections: [
        heat('table', 4 * gib, count, count < 500 ? 96 : 56, (frame, piece) => {
          const front = 20 + Math.floor((frame / count) * 60)
          if (piece > front) return 0
          if (piece === front) return 0.9
          if (piece > front - 4 && chance(frame, 21) > 0.5) return 0.15 * chance(frame, piece)
          if (piece > 4 && piece < 11 && frame % 20 < 14) return 0.35 * chance(frame, piece, 5)
          return chance(frame, piece) > 0.8 ? 0.004 * chance(piece, frame) : 0
        }),
        heat('index', 2 ** 26, count, count < 500 ? 32 : 24, (frame, piece) =>
          frame % 20 < 14 && chance(frame, piece, 9) > 0.4 ? 0.08 * chance(piece, frame) : 0,
        ),
      ],
    },
    checked: 'opened',
    remarks: [],
  }
}

function reasons(number: number, count: number, frozenAt: Date): string[] {
  const found: string[] = []
  if (number === count) found.push('newest')
  if (count - number < 10) found.push('last 10')
  if (count - number < 96) found.push('within 24h')
  if (number % 4 === 0) found.push(`hourly ${frozenAt.toISOString().slice(0, 13)}h`)
  if (number % 96 === 0) found.push(`daily ${frozenAt.toISOString().slice(0, 10)}`)
  return found
}

function heat(
  name: string,
  byteLength: number,
  count: number,
  pieces: number,
  share: (frame: number, piece: number) => number,
): ReportData['heat']['sections'][number] {
  return {
    name,
    byteLength,
    pieceBytes: Math.ceil(byteLength / pieces / 4096) * 4096,
    columns: Array.from({ length: count }, (_, frame) =>
      frame === 0 ? undefined : Array.from({ length: pieces }, (_, piece) => share(frame, piece)),
    ),
  }
}
