/** Helpers shared by the commands that work on archives. */

import { access, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { type Archive, type Frame, openArchive, type Retention } from '../archive/index.js'
import { asOptions, readMark } from '../archive/mark.js'
import { markName } from '../archive/names.js'
import { printable } from '../base/printable.js'
import { type Arguments, CommandError, isStillframeError, type OptionSpec, UsageError } from './command.js'
import type { Place } from './place.js'

/** The retention rules, with the option names of restic. */
export const keepOptions: Readonly<Record<string, OptionSpec>> = {
  'keep-last': { type: 'string', placeholder: 'N', help: 'keep the last N frames' },
  'keep-within': {
    type: 'string',
    placeholder: 'TIME',
    help: "keep frames younger than this: '30m', '12h', '7d', '2w'",
  },
  'keep-hourly': {
    type: 'string',
    placeholder: 'N',
    help: 'keep the newest frame of each of the last N hours',
  },
  'keep-daily': {
    type: 'string',
    placeholder: 'N',
    help: 'keep the newest frame of each of the last N days (UTC)',
  },
  'keep-weekly': {
    type: 'string',
    placeholder: 'N',
    help: 'keep the newest frame of each of the last N weeks (UTC, from Monday)',
  },
}

/** Returns undefined if no rule is given. @throws UsageError. */
export function readRetention(args: Arguments): Retention | undefined {
  const retention: { -readonly [key in keyof Retention]: Retention[key] } = {}
  for (const rule of ['last', 'hourly', 'daily', 'weekly'] as const) {
    const text = args.value(`keep-${rule}`)
    if (text === undefined) continue
    if (!/^[1-9]\d{0,8}$/.test(text)) {
      throw new UsageError(`--keep-${rule} must be a whole number of at least 1, not '${text}'`)
    }
    retention[rule] = Number(text)
  }
  const within = args.value('keep-within')
  if (within !== undefined) {
    if (!/^[1-9]\d{0,8}[smhdw]$/.test(within)) {
      throw new UsageError(`--keep-within must be a time such as 30m, 12h, 7d or 2w, not '${within}'`)
    }
    retention.within = within
  }
  return Object.keys(retention).length === 0 ? undefined : retention
}

/** True for a directory that holds an archive. */
export async function isArchive(place: string): Promise<boolean> {
  return await access(join(place, markName)).then(
    () => true,
    () => false,
  )
}

/** True for a directory of any kind. */
export async function isDirectory(place: string): Promise<boolean> {
  return await stat(place).then(
    (stats) => stats.isDirectory(),
    () => false,
  )
}

/** Opens an archive read-only, which does not disturb a writer. */
export async function openToRead({ at, encryption }: Place, retention?: Retention): Promise<Archive> {
  return await openArchive(at, {
    readOnly: true,
    ...(retention !== undefined && { retention }),
    ...(encryption !== undefined && { encryption }),
  })
}

/**
 * The rules given as options or, without any, those of the archive's writer. Undefined if there are
 * none or they are not known.
 */
export async function rulesFor(args: Arguments, { at }: Place): Promise<Retention | undefined> {
  return readRetention(args) ?? (typeof at === 'string' ? await rulesOfWriter(at) : undefined)
}

async function rulesOfWriter(place: string): Promise<Retention | undefined> {
  const { retention } = (await readMark(place)) ?? {}
  return retention && asOptions(retention)
}

/**
 * Opens an existing archive for writing and keeps its retention rules. Opening it read-only first
 * makes sure that a mistyped place does not become a new archive.
 */
export async function openToWrite(place: Place): Promise<Archive> {
  await (await openToRead(place)).close()
  const { name, at, encryption } = place
  const retention = typeof at === 'string' ? await rulesOfWriter(at) : undefined
  try {
    return await openArchive(at, {
      ...(retention !== undefined && { retention }),
      ...(encryption !== undefined && { encryption }),
    })
  } catch (error) {
    if (isStillframeError(error, 'BUSY')) {
      throw new CommandError(
        `${printable(name)} is open for writing in the service that captures into it. That service applies ` +
          'its own retention and compacts by itself; do this in the service, or stop it first',
      )
    }
    throw error
  }
}

/** All frames, in order of number. */
export async function framesOf(archive: Archive, range: { from?: Date; to?: Date } = {}): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of archive.frames(range)) frames.push(frame)
  return frames
}

/**
 * Reads a time such as `2026-11-30T09:30Z`, with or without seconds. A time without a zone is in
 * UTC, the zone in which all commands print times.
 *
 * @throws UsageError.
 */
export function readInstant(text: string, option: string): Date {
  const [, day, time, zone = 'Z'] =
    /^(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?) ?(Z|UTC|[+-]\d\d:\d\d)?$/.exec(text) ?? []
  const instant = new Date(`${day}T${time}${zone === 'UTC' ? 'Z' : zone}`)
  if (Number.isNaN(instant.getTime())) {
    throw new UsageError(
      `${option} must be a time, not '${text}'`,
      "Write it as '2026-11-30T09:30' or '2026-11-30T09:30:00.250+01:00'; without a zone, it is UTC.",
    )
  }
  return instant
}
