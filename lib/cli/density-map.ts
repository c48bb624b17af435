/** Draws a range of memory as lines of characters; the more of a piece differs, the darker. */

import type { Io, Style } from './io.js'

/** A range in pieces of equal length, except that the last piece may be shorter. */
export interface Density {
  byteLength: number
  pieceBytes: number
  /** For each piece, how many of its `unitsPerPiece` units differ. */
  pieces: readonly number[]
  unitsPerPiece: number
}

/** Characters per line if there is no terminal. */
const widthInPipe = 64
/** Maximum number of lines per map: enough to see where, few enough to see several maps at once. */
const mostLines = 4
const legend = '· nothing  ░ under 1/4  ▒ under 1/2  ▓ more  █ all'

/** A map, and the number of bytes that one character represents. */
export interface DensityMap {
  bytesPerCharacter: number
  lines: string[]
}

/** The legend of the characters. */
export function describeLegend(style: Style): string {
  return style.dim(legend)
}

/** Draws the map, with start and end offsets on each line. */
export function drawDensity({ byteLength, pieceBytes, pieces, unitsPerPiece }: Density, io: Io): DensityMap {
  const labelWidth = hex(byteLength).length
  const width = charactersOf(io.tableWidth, labelWidth)
  // Whole pieces only, so that no character mixes in memory of its neighbors.
  const piecesPerCharacter = Math.max(1, Math.ceil(pieces.length / (mostLines * width)))
  const bytesPerCharacter = piecesPerCharacter * pieceBytes
  const totalUnits = Math.ceil((byteLength * unitsPerPiece) / pieceBytes)
  const characters: string[] = []
  for (let first = 0; first < pieces.length; first += piecesPerCharacter) {
    const covered = pieces.slice(first, first + piecesPerCharacter)
    const units = Math.min(covered.length * unitsPerPiece, totalUnits - first * unitsPerPiece)
    characters.push(shade(covered.reduce((sum, some) => sum + some, 0) / units))
  }
  const lines: string[] = []
  for (let first = 0; first < characters.length; first += width) {
    const some = characters.slice(first, first + width)
    const end = Math.min((first + some.length) * bytesPerCharacter, byteLength)
    const start = hex(first * bytesPerCharacter).padStart(labelWidth)
    const drawn = some.join('').replace(/·+/g, io.style.dim)
    lines.push(`${io.style.dim(start)} ${drawn} ${io.style.dim(hex(end))}`)
  }
  return { bytesPerCharacter, lines }
}

/** Characters that fit between two offsets: a multiple of 8, for round offsets. */
function charactersOf(columns: number, labelWidth: number): number {
  if (!Number.isFinite(columns)) return widthInPipe
  const indentAndGaps = 4
  const room = columns - indentAndGaps - 2 * labelWidth
  return Math.min(Math.max(room - (room % 8), 16), 128)
}

function shade(share: number): string {
  if (share === 0) return '·'
  if (share < 0.25) return '░'
  if (share < 0.5) return '▒'
  return share < 1 ? '▓' : '█'
}

function hex(offset: number): string {
  return `0x${offset.toString(16)}`
}
