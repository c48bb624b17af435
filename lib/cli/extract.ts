/**
 * `stillframe extract FILE SECTION`: the bytes of one section, checked before the first is handed
 * out.
 */

import { performance } from 'node:perf_hooks'
import process from 'node:process'
import { printable } from '../base/printable.js'
import { inspect, restore } from '../index.js'
import { type Arguments, type Command, CommandError, UsageError } from './command.js'
import { type ByteSink, openFileSink, openStdoutSink } from './extract/sink.js'
import type { Io } from './io.js'
import { parentsOption, readParents } from './parents.js'
import { formatBytes, formatDuration, formatNumber } from './units.js'
import { explainValues } from './values.js'

/** Written in such pieces: typed arrays end at 4 GiB on Node 20, sections do not. */
const windowBytes = 2 ** 22

export const extract: Command = {
  name: 'extract',
  summary: 'write the raw bytes of one section to a file or a pipe',
  positionals: ['FILE', 'SECTION'],
  options: {
    output: {
      type: 'string',
      short: 'o',
      placeholder: 'OUT',
      help: "file to write; '-' is stdout (default: stdout)",
    },
    force: { type: 'boolean', short: 'f', help: 'replace OUT if it exists' },
    parents: parentsOption,
  },
  details: `
The section is checked against its checksums first; nothing is written when it is damaged. OUT appears
with its whole contents or not at all, and with permissions 0600. Without -o, stdout must be a pipe or
a file; --json needs -o OUT, since stdout then carries the document.`,

  async run(args, io) {
    const output = readOutput(args, io)
    const section: Section = { path: args.positional(0), name: args.positional(1), ...readParents(args) }
    const { path, name } = section
    const byteLength = await findSection(section)
    // Opened before the check, which may take minutes: whether OUT can be written shows in no time.
    await using sink =
      output === undefined ? openStdoutSink(io.signal) : await openFileSink(output, args.flag('force'))
    const begunMs = performance.now()
    await copySection(section, byteLength, sink, io)
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

/** What is extracted. */
interface Section {
  readonly path: string
  readonly name: string
  readonly parents?: string[]
}

/** Where the bytes go: a path, or undefined for stdout. */
function readOutput(args: Arguments, io: Io): string | undefined {
  const output = args.value('output')
  const hint = "Give a file: 'stillframe extract FILE SECTION -o OUT'."
  if (output !== undefined && output !== '-') return output
  if (io.json) throw new UsageError('--json needs -o OUT: stdout cannot carry both', hint)
  if (args.flag('force')) throw new UsageError('--force needs -o OUT', hint)
  if (process.stdout.isTTY) throw new UsageError('raw bytes are not written to a terminal', hint)
  return undefined
}

/** Size of the section. @throws CommandError that lists the sections there are. */
async function findSection({ path, name, ...parents }: Section): Promise<number> {
  const { sections } = await inspect(path, parents).catch((error) => explainValues(path, error))
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
    // In the mode that suits the file: compressed ones cannot be mapped.
    const restored = await restore(path, { sections: [name], verify: true, signal, ...parents })
    try {
      const buffer = restored.regions[name]?.buffer
      if (buffer === undefined) throw new CommandError(`section '${printable(name)}' was not restored`)
      for (let offset = 0; offset < buffer.byteLength; offset += windowBytes) {
        signal.throwIfAborted()
        const length = Math.min(windowBytes, buffer.byteLength - offset)
        await sink.write(new Uint8Array(buffer, offset, length))
        bar.update(offset + length)
      }
    } finally {
      restored.close()
    }
  } finally {
    bar.stop()
  }
}
