/**
 * `stillframe extract FILE SECTION`: writes the bytes of one section, all of them checked before
 * the first one is written.
 */

import { performance } from 'node:perf_hooks'
import { hasPlatform } from '../addon/load.js'
import { printable } from '../base/printable.js'
import { restore } from '../index.js'
import { type Command, CommandError } from './command.js'
import { copyMemory, outputOptions, readOutput } from './extract/copy.js'
import { type ByteSink, openFileSink, openStdoutSink } from './extract/sink.js'
import type { Io } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { readersHere } from './readers.js'
import { formatBytes, formatDuration, formatNumber } from './units.js'
import { explainValues } from './values.js'

export const extract: Command = {
  name: 'extract',
  summary: 'write the raw bytes of one section to a file or a pipe',
  positionals: ['FILE', 'SECTION'],
  options: {
    ...outputOptions,
    parents: parentsOption,
  },
  details: `
The section is checked against its checksums first, and nothing is written if it is damaged. OUT appears
with its complete contents or not at all, and with permissions 0600. Without -o, stdout must be a pipe
or a file; --json needs -o OUT, since stdout then carries the document.`,

  async run(args, io) {
    const output = readOutput(args, io, 'stillframe extract FILE SECTION -o OUT')
    const section: Section = { path: args.positional(0), name: args.positional(1), ...readParents(args) }
    const { path, name } = section
    const byteLength = await findSection(section)
    // Opened before the check, which may take minutes, to fail early if OUT cannot be written.
    await using sink =
      output === undefined ? openStdoutSink(io.signal) : await openFileSink(output, args.flag('force'))
    const begunMs = performance.now()
    const copy = hasPlatform() ? copySection : copyWithoutAddon
    await copy(section, byteLength, sink, io)
    await sink.commit()
    const durationMs = performance.now() - begunMs
    if (output === undefined) return 0

    const speed = `${formatNumber(byteLength / 1e6 / (durationMs / 1000))} MB/s`
    const what = `${formatBytes(byteLength)} of section '${printable(name)}'`
    await io.report({ file: path, section: name, output, byteLength, durationMs }, [
      `${io.style.good('✓')} ${printable(output)}: ${what}, checked and written ` +
        io.style.dim(`(${formatDuration(durationMs)}, ${speed})`),
    ])
    return 0
  },
}

/** The section to extract. */
interface Section {
  readonly path: string
  readonly name: string
  readonly parents?: string[]
}

/** Size of the section. @throws CommandError that lists the existing sections. */
async function findSection({ path, name, ...parents }: Section): Promise<number> {
  const readers = await readersHere()
  const { sections } = await readers.inspect(path, parents).catch((error) => explainValues(path, error))
  const section = sections.find((candidate) => candidate.name === name)
  if (section === undefined) {
    const names = sections.map((candidate) => `'${printable(candidate.name)}'`).join(', ')
    throw new CommandError(`no section '${printable(name)}' in ${printable(path)}; it has ${names || 'none'}`)
  }
  return section.byteLength
}

/** Verifies the section, then writes it window by window. */
async function copySection(
  { path, name, ...parents }: Section,
  byteLength: number,
  sink: ByteSink,
  io: Io,
): Promise<void> {
  const bar = io.progress(`extracting ${printable(name)}`, byteLength)
  try {
    const { signal } = io
    // In the default mode for the file: compressed files cannot be mapped.
    const restored = await restore(path, { sections: [name], verify: true, signal, ...parents })
    try {
      const buffer = restored.regions[name]?.buffer
      if (buffer === undefined) throw new CommandError(`section '${printable(name)}' was not restored`)
      await copyMemory(buffer, sink, signal, (bytesDone) => bar.update(bytesDone))
    } finally {
      restored.close()
    }
  } finally {
    bar.stop()
  }
}

/**
 * The same without the addon. Reads the section twice, so that no byte of a damaged section is
 * written.
 */
async function copyWithoutAddon(
  { path, name, ...parents }: Section,
  byteLength: number,
  sink: ByteSink,
  io: Io,
): Promise<void> {
  const { openSnapshot } = await import('../reader/index.js')
  await using snapshot = await openSnapshot(path, parents)
  const bar = io.progress(`extracting ${printable(name)}`, byteLength)
  try {
    const { signal } = io
    for await (const _ of snapshot.chunks(name, { signal })) {
      // Only checks the section.
    }
    let bytesDone = 0
    for await (const piece of snapshot.chunks(name, { signal })) {
      await sink.write(piece)
      bytesDone += piece.length
      bar.update(bytesDone)
    }
  } finally {
    bar.stop()
  }
}
