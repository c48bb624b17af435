/**
 * Promise: every command accepts every kind of snapshot file, and refuses any other file with a
 * one-sentence message. Proved by running each command on each kind and checking status, output,
 * and what a terminal would receive.
 */

import { copyFileSync, mkdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, describe, expect, it } from 'vitest'
import { snapshotState } from '../../lib/heap/index.js'
import { snapshot } from '../../lib/index.js'
import { flipByte } from '../support/damage.js'
import { EditableImage } from '../support/image-editor.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { run } from './run.js'

const directory = sharedTemporaryDirectory()
const at = (name: string): string => join(directory, name)

/** The first section of every intact snapshot. */
const main = Buffer.alloc(300_000, 'memory ')
const manySections = Object.fromEntries(
  Array.from({ length: 300 }, (_, index) => [index === 0 ? 'main' : `part ${index}`, main.subarray(0, 1000)]),
)

/** ESC, CSI, RIGHT-TO-LEFT OVERRIDE, a line separator, and an invisible character beyond U+FFFF. */
const evil = '\u001b]0;owned\u0007\u009b31m\u202edrow\u2028\u{e0041}'
const evilEscaped = '\\u001b]0;owned\\u0007\\u009b31m\\u202edrow\\u2028\\udb40\\udc41'
/** True for characters that no command may print. */
function isRaw(character: string): boolean {
  const code = character.codePointAt(0) ?? 0
  const control = (code < 0x20 && character !== '\n') || (code >= 0x7f && code <= 0x9f)
  return control || [0x202e, 0x2028].includes(code) || code >= 0xe0000
}

beforeAll(async () => {
  await snapshot({ main, other: new Uint8Array(5) }, at('flat'), { metadata: { a: 1 } }).done
  await snapshot({ main, other: new Uint8Array(5) }, at('packed'), { compression: 'zstd' }).done
  await snapshot({ main, other: new Uint8Array(6) }, at('delta'), { parent: at('flat') }).done
  mkdirSync(at('elsewhere'))
  copyFileSync(at('delta'), at('elsewhere/orphan'))
  await snapshot(manySections, at('many sections')).done
  await snapshot({ main: new Uint8Array(0), other: main }, at('empty section')).done
  await snapshot({ [evil]: main }, at('evil names'), { metadata: { [evil]: evil } }).done
  const twice = Array.from({ length: 2 }, (_, index) => [`${evil}${index}`, main])
  await snapshot(Object.fromEntries(twice), at('evil twice')).done
  const image = new EditableImage(at('evil twice'))
  const length = Buffer.byteLength(`${evil}0`)
  image.bytes.copy(image.bytes, image.namesAt + length, image.namesAt, image.namesAt + length)
  image.save(at('evil twice'))
  await snapshotState(at('values'), (out) => {
    for (const value of ['one', { two: 2 }]) out.value(value)
  }).done
  copyFileSync(at('flat'), at('damaged'))
  flipByte(at('damaged'), 65_536 + 100)
  copyFileSync(at('flat'), at('cut short'))
  truncateSync(at('cut short'), 100_000)
  copyFileSync(at('values'), at('damaged values'))
  flipByte(at('damaged values'), 20)
  copyFileSync(at('values'), at('cut values'))
  truncateSync(at('cut values'), 20)
  writeFileSync(at('text'), 'certainly no snapshot\n'.repeat(1000))
  writeFileSync(at('nothing'), '')
  mkdirSync(at('directory'))
})

/**
 * Exit status and a pattern in the output, for inspect, verify, extract, compact, and diff of the
 * file with itself.
 */
type Expected = [status: number, says: RegExp]
const sound = (says: RegExp): Expected[] => [
  [0, says],
  [0, /every byte is as it was written/],
  [0, /checked and written/],
  [0, /one full snapshot/],
  [0, /no page differs/],
]
const noSnapshot: Expected[] = [
  [1, /ERR_STILLFRAME_FORMAT/],
  [1, /1 problem/],
  [1, /ERR_STILLFRAME_FORMAT/],
  [1, /ERR_STILLFRAME_FORMAT/],
  [1, /ERR_STILLFRAME_FORMAT/],
]
const all = (says: RegExp): Expected[] => Array.from({ length: 5 }, () => [1, says])
const expected: Record<string, Expected[]> = {
  flat: sound(/2 sections/),
  packed: sound(/packed/),
  delta: sound(/2 sections/),
  'elsewhere/orphan': all(/ERR_STILLFRAME_PARENT/),
  'many sections': sound(/300 sections/),
  'empty section': sound(/main +0 +0 B/),
  values: [
    [0, /2 values/],
    [0, /all 2 values can be read/],
    [1, /values.*readValues\(\)/],
    [1, /values.*readValues\(\)/],
    [1, /values.*readValues\(\)/],
  ],
  damaged: [
    [0, /2 sections/],
    [1, /main .*checksum/],
    [1, /ERR_STILLFRAME_CORRUPT/],
    [1, /ERR_STILLFRAME_CORRUPT/],
    // diff reads no pages.
    [0, /no page differs/],
  ],
  'cut short': [
    [1, /ERR_STILLFRAME_CORRUPT/],
    [1, /1 problem/],
    [1, /ERR_STILLFRAME_CORRUPT/],
    [1, /ERR_STILLFRAME_CORRUPT/],
    [1, /ERR_STILLFRAME_CORRUPT/],
  ],
  'damaged values': [
    [0, /2 values/],
    [1, /checksum/],
    [1, /readValues\(\)/],
    [1, /readValues\(\)/],
    [1, /readValues\(\)/],
  ],
  'cut values': [
    [0, /truncated/],
    [1, /1 problem/],
    [1, /readValues\(\)/],
    [1, /readValues\(\)/],
    [1, /readValues\(\)/],
  ],
  text: noSnapshot,
  nothing: noSnapshot,
  directory: all(/EISDIR|regular file|directory/),
  missing: all(/ENOENT: no such file or directory/),
}

describe.each(Object.entries(expected))(
  '%s',
  (kind, [inspected, verified, extracted, compacted, compared]) => {
    const commands: [string[], Expected | undefined][] = [
      [['inspect', at(kind)], inspected],
      [['verify', at(kind)], verified],
      [['extract', at(kind), 'main', '-f', '-o', at(`${kind} out`)], extracted],
      [['compact', at(kind), '-f', '-o', at(`${kind} full`)], compacted],
      [['diff', at(kind), at(kind)], compared],
    ]
    it.each(commands)('%o', async (args, [status, says] = [2, /never/]) => {
      for (const json of [false, true]) {
        const outcome = await run(json ? [...args, '--json'] : args)
        const said = `${outcome.stdout}${outcome.stderr}`
        expect({ said, status: outcome.status }).toEqual({ said, status })
        if (!json) expect(said).toMatch(says)
        else expect(JSON.parse(outcome.stdout.toString())).toBeTypeOf('object')
        // A stack trace would mean an unforeseen error.
        expect(said).not.toMatch(/\n\s+at .*:\d+:\d+/)
      }
      if (args[0] === 'extract' && status === 0) {
        const length = { 'many sections': 1000, 'empty section': 0 }[kind] ?? main.length
        expect(readFileSync(at(`${kind} out`)).equals(main.subarray(0, length))).toBe(true)
      }
    })

    it('extract to a pipe', async () => {
      const { status, stdout } = await run(['extract', at(kind), 'main'])
      const length = { 'many sections': 1000, 'empty section': 0 }[kind] ?? main.length
      expect(status).toBe(extracted?.[0])
      expect(stdout.length).toBe(status === 0 ? length : 0)
    })
  },
)

describe('what a terminal would obey or be misled by is escaped', () => {
  const files = ['evil names', 'evil twice']
  const commands = files.flatMap((file) => [
    ['inspect', at(file)],
    ['verify', at(file)],
    ['extract', at(file), 'other'],
    ['extract', at(file), evil, '-f', '-o', at(`${evil} out`)],
    ['compact', at(file), '-f', '-o', at(`${evil} full`)],
    ['compact', at(file), '-o', at('flat')],
    ['diff', at(file), at('flat')],
    ['diff', at('flat'), at(`${evil} none`)],
    ['inspect', at(file), '--parents', at(evil)],
    ['verify', at(`${evil} none`)],
    ['inspect', at(file), `--${evil}`],
    [evil],
    ['doctor', '--dir', at(evil)],
  ])
  it.each(commands)('%j', async (...args) => {
    for (const more of [[], ['--json']]) {
      const { stdout, stderr } = await run([...args, ...more])
      const said = `${stdout}${stderr}`
      expect([...said].filter(isRaw)).toEqual([])
    }
  })

  it('and can be told', async () => {
    for (const file of files) {
      const { stdout, stderr } = await run(['inspect', at(file)])
      expect(`${stdout}${stderr}`).toContain(evilEscaped)
    }
    const { stdout } = await run(['inspect', at('evil names'), '--json'])
    expect(stdout.toString()).toContain(evilEscaped)
    expect(JSON.parse(stdout.toString()).sections[0].name).toBe(evil)
  })
})
