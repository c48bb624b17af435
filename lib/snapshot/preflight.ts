/** Predicts the cost of a capture without making it. */

import { Buffer } from 'node:buffer'
import { dirname } from 'node:path'
import type { Addon, NativePreflight } from '../addon/addon.js'
import { loadAddon } from '../addon/load.js'
import { fromNative } from '../base/errors.js'
import type { JsonValue } from '../base/metadata.js'
import { checkPath } from '../base/path.js'
import { type Hazard, knownMachine } from '../machine/capabilities.js'
import { chooseEngine, type EngineName, whyChosen } from '../machine/engines.js'
import { type ResolvedSource, resolveSources, type Source, toNativeSources } from '../region/source.js'
import { type CheckedSnapshotOptions, checkSnapshotOptions, type SnapshotOptions } from './options.js'

/** Result of {@link preflight}: predicted cost and risks of a capture. All sizes are in bytes. */
export interface Preflight {
  /** The engine that `snapshot()` would use. */
  engine: EngineName
  /** Human-readable reason for the choice of that engine. */
  engineReason: string
  /**
   * Time for which the call would block, in milliseconds: a rough figure, based on the cost of a
   * freeze per GiB on one machine. It accounts for the engine and the sources, but not for what
   * else the process has mapped.
   */
  predictedPauseMs: number
  /**
   * Maximum extra memory for copy-on-write: the amount that it takes if every page is written, or
   * the memory limit if that is less.
   */
  worstCaseExtraBytes: number
  /** Memory available now, in the system or in the memory cgroup, whichever is less. */
  availableBytes: number
  /**
   * Free space for this user on the filesystem of `path`; Infinity if the filesystem does not
   * report it (ramfs, many FUSE filesystems).
   */
  freeDiskBytes: number
  /** Maximum size of the new file. An old file of that name stays until the new one is complete. */
  neededDiskBytes: number
  /** Risks on this machine and how to avoid them; empty if none are known. */
  hazards: Hazard[]
}

/**
 * Predicts what `snapshot()` with the same arguments would cost, and lists its risks on this
 * machine. It captures and writes nothing. `signal` and `onProgress` are checked and otherwise
 * ignored.
 *
 * Rejects with the errors that `snapshot()` would throw, as far as they can be known beforehand.
 */
export async function preflight<Meta = JsonValue>(
  source: Source | Record<string, Source>,
  path: string | URL,
  options?: SnapshotOptions<Meta>,
): Promise<Preflight> {
  return forecast(source, path, options, true)
}

/**
 * @internal Like {@link preflight}; without `checkTarget` it also works where no file can be
 * created.
 */
export function forecast(
  source: Source | Record<string, Source>,
  path: string | URL,
  options: SnapshotOptions<unknown> | undefined,
  checkTarget: boolean,
): Preflight {
  const checked = checkSnapshotOptions(options)
  const file = checkPath(path, 'write')
  const sources = resolveSources(source)
  const addon = loadAddon()
  const wish = { ...checked, sources }
  const machine = knownMachine(addon)
  const choice = chooseEngine(wish, machine)
  try {
    if (checkTarget) addon.checkTarget(file, checked.file)
    const engineReason = whyChosen(wish, choice, machine)
    return { engineReason, ...predict(addon, choice.engine, sources, file, checked) }
  } catch (error) {
    throw fromNative(error, file, preflight)
  }
}

function predict(
  addon: Addon,
  engine: EngineName,
  sources: readonly ResolvedSource[],
  path: string,
  options: CheckedSnapshotOptions,
): Omit<Preflight, 'engineReason'> {
  const look = (some: readonly ResolvedSource[]): NativePreflight =>
    addon.preflight(toNativeSources(some, addon), dirname(path))
  const found = look(sources)
  const { residentBytes, storedBytes, availableBytes, freeDiskBytes } = found
  const granted = !found.hazards.some(({ code }) => code === 'HUGE_PAGES_OFF')
  const inHugePages = granted ? look(sources.filter(({ hugePages }) => hugePages)).residentBytes : 0
  const neededDiskBytes = storedBytes + overheadBytes(sources, options.metadata)
  return {
    engine,
    predictedPauseMs: predictPauseMs(engine, residentBytes - inHugePages, inHugePages),
    worstCaseExtraBytes: Math.min(
      residentBytes,
      options.limits.memoryLimit || Math.floor(availableBytes / 2),
    ),
    availableBytes,
    freeDiskBytes,
    neededDiskBytes,
    hazards: [
      ...found.hazards,
      ...ownHazards(engine, path, options, neededDiskBytes, freeDiskBytes),
      ...directReadHazards(addon, engine),
    ],
  }
}

/**
 * Medians of `npm run bench -- --only freeze` (Linux 6.18, x64, 2 virtual cores, regions of 256 MiB
 * to 8 GiB, all pages touched): the pause of a small capture, and the addition for each GiB.
 */
const pauses: Record<EngineName, { callMs: number; msPerGiB: number; msPerHugeGiB: number }> = {
  fork: { callMs: 1.0, msPerGiB: 12, msPerHugeGiB: 0.8 },
  mprotect: { callMs: 0.6, msPerGiB: 8.5, msPerHugeGiB: 0.11 },
  userfaultfd: { callMs: 0.5, msPerGiB: 8.5, msPerHugeGiB: 0.11 },
}

function predictPauseMs(engine: EngineName, bytesInSmallPages: number, bytesInHugePages: number): number {
  const { callMs, msPerGiB, msPerHugeGiB } = pauses[engine]
  return callMs + (bytesInSmallPages * msPerGiB + bytesInHugePages * msPerHugeGiB) / 2 ** 30
}

// Sizes of the parts of a file other than the pages (docs/FORMAT.md).
const pageBytes = 4096
const partAlignment = 65_536
const blockBytes = 262_144
const blockEntryBytes = 48
const pageSumBytes = 16
const sectionRecordBytes = 64

/** Maximum number of bytes that a file takes in addition to the pages themselves. */
function overheadBytes(sources: readonly ResolvedSource[], metadata: string | undefined): number {
  const headerAndTail = 2 * partAlignment + 2 * pageBytes
  const sections = sources.reduce((sum, { name, byteLength }) => {
    const blocks = Math.ceil(byteLength / blockBytes)
    const pages = Math.ceil(byteLength / pageBytes)
    return (
      sum +
      blocks * blockEntryBytes +
      pages * pageSumBytes +
      sectionRecordBytes +
      Buffer.byteLength(name) +
      pageBytes
    )
  }, 0)
  return headerAndTail + sections + Buffer.byteLength(metadata ?? '')
}

function ownHazards(
  engine: EngineName,
  path: string,
  { onMemoryLimit }: CheckedSnapshotOptions,
  neededBytes: number,
  freeBytes: number,
): Hazard[] {
  const hazards: Hazard[] = []
  if (neededBytes > freeBytes) {
    hazards.push({
      code: 'DISK_SHORT',
      message:
        `the file may need ${neededBytes} bytes, and the filesystem of '${path}' has ${freeBytes} free: ` +
        'free space, or write to another path',
    })
  }
  if (engine === 'fork' && onMemoryLimit === 'wait') {
    hazards.push({
      code: 'LIMIT_ABORTS',
      message:
        "onMemoryLimit 'wait' is not possible with fork, where the kernel does the copying: at the limit " +
        'the capture is aborted. Raise memoryLimit if that must not happen',
    })
  }
  return hazards
}

/**
 * Hazards of an engine that was chosen because the caller ruled out writes by the kernel: the open
 * descriptors that could prove the caller wrong.
 */
function directReadHazards(addon: Addon, engine: EngineName): Hazard[] {
  const found = engine === 'fork' ? '' : addon.directReads()
  if (found === '') return []
  return [
    {
      code: 'DIRECT_READS',
      message:
        `${found}: a direct read into a source that is in progress at the call would put later bytes into ` +
        "the file. If there may be one, pass kernelWrites: 'direct'",
    },
  ]
}
