/** `stillframe restore PLACE SECTION`: restores one section of an archive as of some time. */

import { performance } from 'node:perf_hooks'
import type { ArchiveRestored } from '../archive/index.js'
import { printable } from '../base/printable.js'
import { framesOf, openToRead, readInstant } from './archive.js'
import { type Arguments, type Command, CommandError, isStillframeError, UsageError } from './command.js'
import { copyMemory, outputOptions, readOutput } from './extract/copy.js'
import { openFileSink, openStdoutSink } from './extract/sink.js'
import type { Io } from './io.js'
import { aboutPlaces, placeOf, placeOptions } from './place.js'
import { count, formatBytes, formatDuration } from './units.js'

export const restore: Command = {
  name: 'restore',
  summary: 'write one section of an archive as it was at a given time',
  positionals: ['PLACE', 'SECTION'],
  options: {
    at: {
      type: 'string',
      placeholder: 'TIME',
      help: "the newest frame at or before this time (default 'latest')",
    },
    id: { type: 'string', placeholder: 'ID', help: 'the frame with this id' },
    number: { type: 'string', short: 'n', placeholder: 'N', help: 'the frame with this number' },
    'on-damage': {
      type: 'string',
      placeholder: 'WHAT',
      help: "'older': skip damaged frames; or 'fail' (default: older; with --id or --number, fail)",
    },
    ...outputOptions,
    ...placeOptions,
  },
  details: `
${aboutPlaces.trim()}

Every byte of the section is checked before the first one is written, and OUT appears with its complete
contents or not at all. TIME is like 2026-11-30T09:30, in UTC if no zone is given; a frame younger than that
is never used. Frames that are skipped because they are damaged are named on stderr, and in 'skipped' of the
JSON document. The service that captures is not disturbed, and does not prune the frame in the meantime. From
a store, the frame and everything it builds on are fetched into the temporary directory (TMPDIR), and removed
afterwards.`,

  async run(args, io) {
    const at = await placeOf(args.positional(0), args)
    const [place, section] = [at.name, args.positional(1)]
    const output = readOutput(args, io, 'stillframe restore PLACE SECTION -o OUT')
    const wish = readWish(args)
    await using archive = await openToRead(at)
    const frame =
      'number' in wish ? (await framesOf(archive)).find(({ number }) => number === wish.number) : undefined
    if ('number' in wish && frame === undefined) {
      throw new CommandError(
        `${printable(place)} has no frame ${wish.number}; 'stillframe frames' lists them`,
      )
    }
    await using sink =
      output === undefined ? openStdoutSink(io.signal) : await openFileSink(output, args.flag('force'))
    const begunMs = performance.now()
    const onDamage = readOnDamage(args.value('on-damage'))
    const restored = await archive
      .restore({
        ...('number' in wish ? { id: frame?.id } : wish),
        ...(onDamage !== undefined && { onDamage }),
        sections: [section],
        verify: true,
        signal: io.signal,
      })
      .catch((error) => explainFailure(place, section, error))
    const byteLength = restored.regions[section]?.byteLength ?? 0
    const bar = io.progress(`restoring ${printable(section)}`, byteLength)
    try {
      const buffer = restored.regions[section]?.buffer
      if (buffer === undefined) throw new CommandError(`section '${printable(section)}' was not restored`)
      await copyMemory(buffer, sink, io.signal, (bytesDone) => bar.update(bytesDone))
      await sink.commit()
    } finally {
      bar.stop()
      restored.close()
    }
    const durationMs = performance.now() - begunMs
    warn(restored, io)
    if (output === undefined) return 0
    const { number, frozenAt } = restored.frame
    const document = {
      place,
      section,
      output,
      byteLength,
      durationMs,
      frame: restored.frame,
      skipped: restored.skipped,
    }
    await io.report(document, [
      `${io.style.good('✓')} ${printable(output)}: ${formatBytes(byteLength)} of section '${printable(section)}' ` +
        `as of ${frozenAt.toISOString()} (frame ${number}) ${io.style.dim(`(checked, ${formatDuration(durationMs)})`)}`,
    ])
    return 0
  },
}

type Wish = { at: Date | 'latest' } | { id: string } | { number: number }

function readWish(args: Arguments): Wish {
  const [at, id, number] = [args.value('at'), args.value('id'), args.value('number')]
  if ([at, id, number].filter((value) => value !== undefined).length > 1) {
    throw new UsageError('only one of --at, --id and --number can be given')
  }
  if (id !== undefined) return { id }
  if (number !== undefined) {
    if (!/^[1-9]\d{0,14}$/.test(number))
      throw new UsageError(`--number must be the number of a frame, not '${number}'`)
    return { number: Number(number) }
  }
  return { at: at === undefined || at === 'latest' ? 'latest' : readInstant(at, '--at') }
}

function readOnDamage(text: string | undefined): 'older' | 'throw' | undefined {
  if (text === undefined || text === 'older') return text
  if (text === 'fail') return 'throw'
  throw new UsageError(`--on-damage must be 'older' or 'fail', not '${text}'`)
}

/** Skipped frames are not part of the result but must not go unnoticed. */
function warn({ skipped }: ArchiveRestored, io: Io): void {
  if (skipped.length === 0 || io.json) return
  io.remark([
    `${count(skipped.length, 'frame')} skipped:`,
    ...skipped.map(({ number, reason }) => `  frame ${number}: ${printable(reason)}`),
  ])
}

async function explainFailure(place: string, section: string, error: unknown): Promise<never> {
  if (isStillframeError(error, 'NOT_FOUND')) {
    throw new CommandError(`${printable(error.message)}; 'stillframe frames' lists the frames`)
  }
  // The library's message refers to its own option.
  if (error instanceof RangeError || (error as NodeJS.ErrnoException).code === 'ERR_INVALID_ARG_VALUE') {
    const { message } = error as Error
    throw new CommandError(`section '${printable(section)}' of ${printable(place)}: ${printable(message)}`)
  }
  throw error
}
