/**
 * Promise: a table fits the terminal, and shows more where there is more room. Proved by rendering
 * long names and large numbers, as `inspect` may have them, for terminals of 80 and of 120 columns,
 * and for a pipe.
 */

import { stripVTControlCharacters } from 'node:util'
import { describe, expect, it } from 'vitest'
import { describeInfo } from '../../lib/cli/inspect.js'
import type { Io } from '../../lib/cli/io.js'
import type { SnapshotInfo } from '../../lib/index.js'

const info: SnapshotInfo = {
  id: '0123456789abcdef0123456789abcdef',
  frozenAt: new Date(0),
  version: { major: 1, minor: 0 },
  layout: 'flat',
  byteLength: 35 * 2 ** 30,
  fileSize: 35 * 2 ** 30,
  allocatedBytes: 35 * 2 ** 30,
  pageSize: 4096,
  blockSize: 2 ** 18,
  metadata: undefined,
  sections: [
    {
      name: 'vectors',
      byteLength: 35 * 2 ** 30 - 1,
      storedBytes: 35 * 2 ** 30 - 1,
      fileOffset: 2 ** 36 - 4096,
    },
    { name: 'a-name-of-30-characters-x-x-x-', byteLength: 4096, storedBytes: 0, fileOffset: 8192 },
  ],
} as SnapshotInfo

const plain = (text: string): string => text
const style = { bold: plain, dim: plain, good: plain, bad: plain, warn: plain }

function inspectIn(tableWidth: number): string[] {
  return describeInfo('a.stillframe', info, { style, tableWidth } as unknown as Io)
}

describe('the table of sections', () => {
  it.each([80, 120])('fits a terminal of %d columns', (width) => {
    for (const line of inspectIn(width))
      expect(stripVTControlCharacters(line).length, line).toBeLessThanOrEqual(width)
  })

  it('says more in 120 columns than in 80, and in a pipe all', () => {
    const titles = (width: number): string[] =>
      (inspectIn(width).find((line) => line.includes('section  ')) ?? '').trim().split(/ {2,}/)
    expect(titles(80)).toEqual(['section', 'size', 'stored', 'at offset'])
    expect(titles(120)).toEqual(['section', 'bytes', 'size', 'stored', 'share', 'at offset'])
    expect(titles(Number.POSITIVE_INFINITY)).toEqual(titles(120))
  })
})
