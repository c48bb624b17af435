/** `stillframe frames PLACE`: lists the frames of an archive. */

import type { Frame } from '../archive/index.js'
import { printable } from '../base/printable.js'
import { framesOf, keepOptions, openToRead, readInstant, readRetention, rulesFor } from './archive.js'
import type { Command } from './command.js'
import type { Io } from './io.js'
import { aboutPlaces, type Place, placeOf, placeOptions } from './place.js'
import { renderTable } from './table.js'
import { count, formatBytes, formatMs } from './units.js'

export const frames: Command = {
  name: 'frames',
  summary: 'list the frames of an archive',
  positionals: ['PLACE'],
  options: {
    from: { type: 'string', placeholder: 'TIME', help: 'only frames frozen at this time or later' },
    to: { type: 'string', placeholder: 'TIME', help: 'only frames frozen at this time or earlier' },
    ...keepOptions,
    ...placeOptions,
  },
  details: `
${aboutPlaces.trim()}

Lists what can be restored, from the oldest frame to the newest, and which rule of its service keeps
each one; a service that captures is not disturbed. --keep-last and the other --keep options try other
rules: 'stillframe prune' with the same options would prune the frames that none of them keeps. TIME is
like 2026-11-30T09:30, in UTC if no zone is given. The rules of a service whose archive is in a store are
not known here. Exit status 1 if a frame is known to be damaged; 'stillframe verify PLACE' finds out.`,

  async run(args, io) {
    const place = await placeOf(args.positional(0), args)
    const [from, to] = (['from', 'to'] as const).map((name) => {
      const text = args.value(name)
      return text === undefined ? undefined : readInstant(text, `--${name}`)
    })
    await using archive = await openToRead(place, readRetention(args))
    const hasRules = (await rulesFor(args, place)) !== undefined
    const found = await framesOf(archive, { ...(from && { from }), ...(to && { to }) })
    const damaged = found.filter(({ damage }) => damage !== undefined)
    await io.report({ place: place.name, frames: found }, describe(place, found, hasRules, io))
    return damaged.length === 0 ? 0 : 1
  },
}

function describe({ name: place, at }: Place, found: readonly Frame[], hasRules: boolean, io: Io): string[] {
  const { style } = io
  if (found.length === 0) return [`${printable(place)}: no frames`]
  const stored = found.reduce((sum, frame) => sum + storedBytes(frame), 0)
  const damaged = found.filter(({ damage }) => damage !== undefined)
  return [
    style.bold(printable(place)),
    '',
    ...framesTable(found, hasRules, io),
    '',
    `${count(found.length, 'frame')}, ${formatBytes(stored)} ` +
      (typeof at === 'string' ? 'on disk' : 'in the store'),
    ...damaged.map(({ number, damage = '' }) => style.bad(`✗ frame ${number}: ${printable(damage)}`)),
  ]
}

/** Lines of a table. If there are rules, it says why each frame is kept. */
export function framesTable(found: readonly Frame[], hasRules: boolean, { style, tableWidth }: Io): string[] {
  return renderTable(
    [
      { title: 'frame', align: 'right' },
      { title: 'frozen at', align: 'left' },
      { title: 'kind', align: 'left' },
      { title: 'memory', align: 'right', optional: 2 },
      { title: 'changed', align: 'right', optional: 3 },
      { title: found.every(isInStore) ? 'stored' : 'on disk', align: 'right' },
      { title: 'pause', align: 'right', optional: 4 },
      { title: 'objects', align: 'left', optional: 5 },
      ...(hasRules ? [{ title: 'kept because', align: 'left' as const, optional: 1 }] : []),
    ],
    found.map((frame) => [
      String(frame.number),
      frame.frozenAt.toISOString(),
      frame.damage === undefined ? frame.kind : style.bad('damaged'),
      formatBytes(frame.byteLength),
      formatBytes(frame.changedBytes),
      formatBytes(storedBytes(frame)),
      `${formatMs(frame.pauseMs)} ms`,
      frame.hasState ? 'yes' : '',
      ...(hasRules ? [frame.keptBecause.map(printable).join(', ')] : []),
    ]),
    style.dim,
    tableWidth,
  )
}

function isInStore({ places }: Frame): boolean {
  return !places.includes('directory')
}

/** Bytes that the frame's files take on disk. Objects in a store have no holes. */
export function storedBytes({ allocatedBytes, fileSize, stateSize = 0, places }: Frame): number {
  return (places.includes('directory') ? allocatedBytes : fileSize) + stateSize
}
