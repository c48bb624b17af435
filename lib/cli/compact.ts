/**
 * `stillframe compact FILE OUT` writes a frame and all frames that it builds on as one full file;
 * `compact PLACE` does the same with the newest frame of an archive, in place.
 */

import { printable } from '../base/printable.js'
import { type Compression, compact as compactFrame } from '../index.js'
import { isDirectory, openToWrite } from './archive.js'
import { type Arguments, type Command, CommandError, isStillframeError, UsageError } from './command.js'
import type { Io } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { isStore } from './place.js'
import { formatBytes, formatDuration, formatNumber } from './units.js'
import { explainValues } from './values.js'

export const compact: Command = {
  name: 'compact',
  summary: 'make one full snapshot from a delta and everything it builds on',
  positionals: ['FILE'],
  optional: 'OUT',
  options: {
    output: {
      type: 'string',
      short: 'o',
      placeholder: 'OUT',
      help: 'the same as OUT',
    },
    force: { type: 'boolean', short: 'f', help: 'replace OUT if it exists' },
    compress: {
      type: 'string',
      placeholder: 'zstd[:LEVEL]',
      help: 'compress OUT; LEVEL is -50 (fast) to 22 (small), 1 by default',
    },
    parents: parentsOption,
  },
  details: `
FILE may be an archive: then its newest frame is made full in place, and OUT is omitted.

OUT is the same frame in one file: it keeps the id, the instant and the metadata. Every byte is checked
as it is read, and so is the resulting memory before OUT appears. OUT must not be one of the files that
it is made from. Those files remain, and what builds on FILE can be read with either FILE or OUT. A FILE
that is already full is copied.`,

  async run(args, io) {
    const path = args.positional(0)
    if (isStore(path)) {
      throw new CommandError(
        `${printable(path)} is a store: its frames are made full by the service that captures into it ` +
          '(fullEvery)',
      )
    }
    if (await isDirectory(path)) return await compactArchive(path, args, io)
    const output = readOutput(args)
    const compression = readCompression(args.value('compress'))
    const bar = io.progress('compacting')
    const result = await compactFrame(path, output, {
      ...readParents(args),
      overwrite: args.flag('force'),
      compression,
      signal: io.signal,
      onProgress: ({ bytesDone, bytesTotal }) => bar.update(bytesDone, bytesTotal),
    })
      .catch((error) => explainFailure(path, output, error))
      .finally(() => bar.stop())

    const { byteLength, fileSize, allocatedBytes, durationMs } = result
    const speed = `${formatNumber(byteLength / 1e6 / (durationMs / 1000))} MB/s`
    const size = `${formatBytes(fileSize)}, ${formatBytes(allocatedBytes)} of it on disk`
    await io.report({ file: path, output, ...result }, [
      `${io.style.good('✓')} ${printable(output)}: one full snapshot of ${formatBytes(byteLength)} of memory, ${size} ` +
        io.style.dim(`(${formatDuration(durationMs)}, ${speed})`),
    ])
    return 0
  },
}

async function compactArchive(place: string, args: Arguments, io: Io): Promise<number> {
  const given = ['output', 'force', 'compress', 'parents'].find((option) => args.flag(option))
  const surplus = args.positionals[1] === undefined ? given && `--${given}` : 'OUT'
  if (surplus !== undefined) {
    throw new CommandError(
      `${printable(place)} is a directory: an archive is compacted in place, without ${surplus}; otherwise ` +
        'name a file',
    )
  }
  await using archive = await openToWrite({ name: place, at: place, encryption: undefined })
  const frame = await archive.compact({ signal: io.signal })
  await io.report({ place, frame: frame ?? null }, [
    frame === undefined
      ? `${printable(place)}: nothing to compact, since the newest frame is already full`
      : `${io.style.good('✓')} ${printable(place)}: frame ${frame.number} is now full, ` +
        `${formatBytes(frame.allocatedBytes)} on disk`,
  ])
  return 0
}

function readOutput(args: Arguments): string {
  const output = args.positionals[1] ?? args.value('output')
  const hint = "Try 'stillframe compact FILE OUT'."
  if (output === undefined) throw new UsageError('OUT is missing', hint)
  if (args.positionals[1] !== undefined && args.flag('output'))
    throw new UsageError('OUT was given twice', hint)
  if (output === '-') throw new UsageError('a snapshot cannot be written to stdout', hint)
  return output
}

function readCompression(text: string | undefined): Compression {
  if (text === undefined) return 'none'
  const [, level] = /^zstd(?::(-?\d{1,2}))?$/.exec(text) ?? [text, 'none']
  if (level === undefined) return 'zstd'
  const number = Number(level)
  if (!(number >= -50 && number <= 22))
    throw new UsageError(`--compress must be zstd or zstd:LEVEL, with a level from -50 to 22, not '${text}'`)
  return { codec: 'zstd', level: number }
}

/** Rewords the library's errors about its options in terms of the command's options. */
async function explainFailure(path: string, output: string, error: unknown): Promise<never> {
  if (isStillframeError(error, 'EXISTS'))
    throw new CommandError(`${printable(output)} exists; --force replaces it`)
  return await explainValues(path, error)
}
