#!/usr/bin/env node
// Checks that includes and imports point down: a file uses only files of its own room and of the
// rooms below it, never of a room above or next to it. docs/ARCHITECTURE.md says what each room is
// for. In the tests, code that several rooms use is in test/support.
//
//   node scripts/check-layers.mjs        part of `npm run lint`
//
// A new room must be added here, at its level.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))

// From the bottom up. Rooms on one line are on the same level and must not use each other.
const houses = [
  {
    place: 'native',
    isSource: (file) => /\.(cc|h)$/.test(file),
    uses: /#include "([^"]+)"/g,
    // Include paths are relative to native/.
    resolve: (_file, name) => path.join('native', name),
    floors: [
      ['base'],
      ['memory', 'publish'],
      ['image'],
      ['child'],
      ['freeze'],
      ['capture', 'restore'],
      ['addon'],
      ['heap'],
      ['test'],
    ],
  },
  {
    place: 'lib',
    isSource: (file) => file.endsWith('.ts'),
    uses: /(?:from|import\()\s*'(\.[^']+)'/g,
    resolve: (file, name) => path.join(path.dirname(file), name.replace(/\.js$/, '.ts')),
    floors: [
      ['base'],
      ['image', 'values'],
      // Works without any addon, so it is below the room that loads them, as is everything it uses.
      ['reader'],
      ['addon', 'heap-file'],
      ['files'],
      ['store'],
      ['region', 's3'],
      ['machine'],
      ['snapshot', 'restore'],
      ['compact'],
      ['index.ts'],
      ['heap'],
      ['archive'],
      ['report'],
      ['metrics'],
      ['cli'],
    ],
  },
  {
    place: 'test',
    // The package, its documents and its examples.
    usesOtherPlaces: true,
    isSource: (file) => /\.(ts|mjs|cjs)$/.test(file),
    // Files that are imported, run or compiled.
    uses: /(?:from|import|import\(|new URL\()\s*['`](\.[^'`]+)/g,
    resolve: (file, name) => path.join(path.dirname(file), name.replace(/\.js$/, '.ts')),
    floors: [
      ['support'],
      [
        'api',
        'cli',
        'consistency',
        'crash',
        'engines',
        'filesystems',
        'heap',
        'host',
        'hostile',
        'large',
        'machine',
        'package',
        'report',
        'restore',
        'store',
      ],
      ['deltas', 'metrics', 'reader'],
      ['archive'],
    ],
  },
]

const problems = houses.flatMap(problemsOf)
if (problems.length > 0) console.error(problems.join('\n'))
process.exit(problems.length === 0 ? 0 : 1)

function problemsOf({ place, usesOtherPlaces = false, isSource, uses, resolve, floors }) {
  const floorOf = new Map(floors.flatMap((rooms, floor) => rooms.map((room) => [room, floor])))
  const files = readdirSync(path.join(root, place), { recursive: true })
    .map((name) => path.join(place, name))
    .filter((file) => isSource(file) && statSync(path.join(root, file)).isFile())
  if (files.length === 0) throw new Error(`no sources found below ${place}/`)
  const found = []
  for (const file of files) {
    const room = roomOf(file)
    if (!floorOf.has(room)) {
      found.push(`${file}: the room ${room} is not known to scripts/check-layers.mjs`)
      continue
    }
    for (const [, name] of readFileSync(path.join(root, file), 'utf8').matchAll(uses)) {
      const used = resolve(file, name)
      // In some places, headers of libraries are included with quotes.
      if (!existsSync(path.join(root, used))) continue
      if (usesOtherPlaces && !used.startsWith(`${place}${path.sep}`)) continue
      const other = roomOf(used)
      if (other !== room && !(floorOf.get(other) < floorOf.get(room))) {
        found.push(`${file} uses ${used}: ${place}/${room} does not stand above ${place}/${other}`)
      }
    }
  }
  return found
}

/** The first directory below the house, or the name of a file that is in no directory. */
function roomOf(file) {
  return file.split(path.sep)[1]
}
