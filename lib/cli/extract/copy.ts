/** Copies memory into a file or a pipe, for all commands that write a section. */

import process from 'node:process'
import { type Arguments, type OptionSpec, UsageError } from '../command.js'
import type { Io } from '../io.js'
import type { ByteSink } from './sink.js'

/** Size of one write: typed arrays end at 4 GiB on Node 20, sections do not. */
const windowBytes = 2 ** 22

export const outputOptions: Readonly<Record<'output' | 'force', OptionSpec>> = {
  output: {
    type: 'string',
    short: 'o',
    placeholder: 'OUT',
    help: "file to write; '-' is stdout (default: stdout)",
  },
  force: { type: 'boolean', short: 'f', help: 'replace OUT if it exists' },
}

/**
 * Destination of the bytes: a path, or undefined for stdout.
 *
 * @param usage - the command's usage with -o, for the hint.
 * @throws UsageError.
 */
export function readOutput(args: Arguments, io: Io, usage: string): string | undefined {
  const output = args.value('output')
  const hint = `Name a file: '${usage}'.`
  if (output !== undefined && output !== '-') return output
  if (io.json) throw new UsageError('--json needs -o OUT: stdout cannot carry both', hint)
  if (args.flag('force')) throw new UsageError('--force needs -o OUT', hint)
  if (process.stdout.isTTY) throw new UsageError('raw bytes cannot be written to a terminal', hint)
  return undefined
}

/** Writes memory window by window. */
export async function copyMemory(
  buffer: ArrayBuffer,
  sink: ByteSink,
  signal: AbortSignal,
  onBytes: (bytesDone: number) => void,
): Promise<void> {
  for (let offset = 0; offset < buffer.byteLength; offset += windowBytes) {
    signal.throwIfAborted()
    const length = Math.min(windowBytes, buffer.byteLength - offset)
    await sink.write(new Uint8Array(buffer, offset, length))
    onBytes(offset + length)
  }
}
