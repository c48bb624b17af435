/**
 * Promise: after a power loss at any moment of captures, compactions and prunes, an archive lists
 * every frame that was reported complete and was not being pruned, and each frame that it lists is
 * whole (T6 for a directory of frames).
 *
 * Proved by recording the writes and name changes of a service, and by constructing every state
 * that a disk may be left in after each of its calls: anything written, truncated or renamed since
 * the last fsync of the file, or of the directory, may or may not be there, in any order. Each
 * state is opened as a user would, by a reader and by the next writer. A directory that is never
 * synced shows that bad states are detected.
 */

import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, type TestContext, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsStrace } from '../support/needs.js'
import { callsOf, lossesOf } from '../support/power-loss.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { checkAfterCrash, type Told } from './after-crash.js'

const inDirectory = useTemporaryDirectory()
const turns = new URL('fixtures/turns.mjs', import.meta.url)
const place = () => inDirectory('archive')

test('a loss of power after any call loses no frame that was told complete', async (context) => {
  const states = await statesAfterPowerLoss(context, { ignoredSyncs: '' })
  // In every fourth state, also checks that the next writer can continue.
  for (const [index, { moment, files, told }] of states.entries())
    await checkState(files, told, moment, index % 4 === 0)
  expect(states.length).toBeGreaterThan(100)
  expect(states.some(({ told }) => told.complete.size === 6)).toBe(true)
  expect(states.some(({ told }) => told.givingUp.size === 5)).toBe(true)
})

test('with a directory that is not synced it would', async (context) => {
  const states = await statesAfterPowerLoss(context, { ignoredSyncs: place() })
  let failures = 0
  for (const { moment, files, told } of states) {
    await checkState(files, told, moment).catch(() => failures++)
    rmSync(place(), { recursive: true, force: true })
    if (failures > 0) break
  }
  expect(failures).toBe(1)
})

/** A file of the trace, whatever its name. */
interface TracedFile {
  /** In the order of the calls. */
  readonly changes: Change[]
  /** How many of the changes are on disk. */
  synced: number
}

/** Bytes at an offset; without bytes, a truncation to this length. */
interface Change {
  readonly offset: number
  readonly bytes?: Buffer
}

/** The file that a name refers to from now on; undefined if there is none. */
interface Naming {
  readonly name: string
  readonly file: TracedFile | undefined
}

interface State {
  /** The call after which the power is lost. */
  readonly moment: string
  readonly files: ReadonlyMap<string, Buffer>
  readonly told: Told
}

async function checkState(files: State['files'], told: Told, moment: string, goOn = true): Promise<void> {
  mkdirSync(place())
  for (const [name, content] of files) writeFileSync(join(place(), name), content)
  await checkAfterCrash(place(), told, moment, goOn)
}

function contentOf(changes: readonly Change[]): Buffer {
  let content = Buffer.alloc(0)
  for (const { offset, bytes } of changes) {
    const end = bytes === undefined ? offset : Math.max(content.length, offset + bytes.length)
    const grown = Buffer.alloc(end)
    content.copy(grown)
    bytes?.copy(grown, offset)
    content = grown
  }
  return content
}

/** @param ignoredSyncs - path whose syncs are treated as if they had not happened. */
async function statesAfterPowerLoss(
  context: TestContext,
  { ignoredSyncs }: { ignoredSyncs: string },
): Promise<State[]> {
  needsStrace(context)
  const fixture = startFixture(turns, [place()], {
    env: { STILLFRAME_DISABLE: 'bounded_park' },
    wrapper: [
      ...['strace', '-f', '-y', '-xx', '-s', '1000000', '-qq', '-o', inDirectory('trace')],
      ...['-e', `trace=openat,${writing},ftruncate,fsync,fdatasync,${naming}`],
    ],
  })
  expect(await fixture.end).toMatchObject({ status: 0 })
  const disk = new Disk(place(), ignoredSyncs)
  const states = new Map<string, State>()
  const told: Told = { complete: new Map(), givingUp: new Set(), end: false }
  for (const call of callsOf(readFileSync(inDirectory('trace'), 'utf8'))) {
    const report = reportIn(call)
    if (report !== undefined) {
      if (typeof report['complete'] === 'string')
        told.complete.set(report['complete'], Number(report['seed']))
      for (const id of (report['givingUp'] ?? []) as string[]) told.givingUp.add(id)
    } else if (!disk.apply(call)) {
      continue
    }
    for (const [key, files] of disk.statesNow()) {
      const known = `${key} ${told.complete.size} ${told.givingUp.size}`
      if (states.has(known)) continue
      const since = { complete: new Map(told.complete), givingUp: new Set(told.givingUp), end: false }
      states.set(known, { moment: call.slice(0, 200), files, told: since })
    }
  }
  rmSync(place(), { recursive: true })
  return [...states.values()]
}

const writing = 'write,writev,pwrite64,pwritev,pwritev2,copy_file_range,sendfile'
const naming = 'link,linkat,rename,renameat,renameat2,unlink,unlinkat'

/** The report that a call writes, if any. */
function reportIn(call: string): Record<string, unknown> | undefined {
  const [, written] = /^write\(1<[^>]*>, "((?:\\x[0-9a-f]{2})*)"/.exec(call) ?? []
  if (written === undefined) return undefined
  try {
    return JSON.parse(unescaped(written).toString()) as Record<string, unknown>
  } catch {
    return undefined
  }
}

/** Decodes the output of strace -xx. */
function unescaped(text: string): Buffer {
  return Buffer.from(text.replaceAll('\\x', ''), 'hex')
}

/** The files of one directory as a trace changes them, and the part of it that is on disk. */
class Disk {
  readonly #directory: string
  readonly #ignoredSyncs: string
  /** As the running system sees them. */
  readonly #names = new Map<string, TracedFile>()
  readonly #namesOnDisk = new Map<string, TracedFile>()
  #unsyncedNamings: Naming[] = []
  /** By the path that -y prints after a descriptor. Each unnamed file has a path of its own. */
  readonly #opened = new Map<string, TracedFile>()
  /** Unnamed files, by descriptor. */
  readonly #nameless = new Map<number, TracedFile>()
  readonly #numbers = new Map<TracedFile, number>()

  constructor(directory: string, ignoredSyncs: string) {
    this.#directory = directory
    this.#ignoredSyncs = ignoredSyncs
  }

  /** @returns true if the call concerned the directory. */
  apply(call: string): boolean {
    const [, syscall = '', args = '', result, opened = ''] = /^(\w+)\((.*)\) = (-?\d+)(.*)$/.exec(call) ?? []
    if (result === undefined || Number(result) < 0) return false
    const paths = [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(([, hex = '']) =>
      unescaped(hex).toString(),
    )
    const on = pathOf(/^\d+<(.*?)>/.exec(args)?.[1] ?? '')
    if (syscall === 'openat') return this.#open(args, paths[0] ?? '', Number(result), opened)
    const file = this.#opened.get(on) ?? this.#names.get(this.#nameIn(on) ?? '')
    switch (syscall) {
      case 'pwrite64':
        file?.changes.push({
          offset: Number(/(\d+)$/.exec(args)?.[1]),
          bytes: unescaped(/"((?:\\x[0-9a-f]{2})*)"/.exec(args)?.[1] ?? '').subarray(0, Number(result)),
        })
        return file !== undefined
      case 'ftruncate':
        file?.changes.push({ offset: Number(/(\d+)$/.exec(args)?.[1]) })
        return file !== undefined
      case 'fsync':
        if (on === this.#ignoredSyncs) return false
        if (on === this.#directory) this.#syncNames()
        else if (file !== undefined) file.synced = file.changes.length
        return true
      case 'linkat': {
        const [from = '', to = ''] = paths
        const linked = this.#nameless.get(Number(/^\/proc\/self\/fd\/(\d+)$/.exec(from)?.[1]))
        if (linked === undefined || !args.includes('<')) throw new Error(`what is linked? ${call}`)
        this.#setName(to, linked)
        return true
      }
      case 'rename': {
        const [from, to] = paths.map((path) => this.#nameIn(path))
        if (from === undefined || to === undefined) return false
        this.#setName(to, this.#names.get(from))
        this.#setName(from, undefined)
        return true
      }
      case 'unlink': {
        const name = this.#nameIn(paths[0] ?? '')
        if (name !== undefined) this.#setName(name, undefined)
        return name !== undefined
      }
      default:
        if (!`${on} ${paths.join(' ')}`.includes(this.#directory)) return false
        throw new Error(`a file is changed in a way that this test does not follow: ${syscall}`)
    }
  }

  /** Possible current contents of the disk, each with a unique key. */
  *statesNow(): Generator<[string, ReadonlyMap<string, Buffer>]> {
    for (const lost of lossesOf(this.#unsyncedNamings)) {
      const names = new Map(this.#namesOnDisk)
      for (const naming of this.#unsyncedNamings) if (!lost.includes(naming)) setIn(names, naming)
      const unsynced = [...new Set(names.values())].flatMap((file) => file.changes.slice(file.synced))
      for (const lostChanges of lossesOf(unsynced)) {
        const files = new Map<string, Buffer>()
        const keys: string[] = []
        for (const [name, file] of names) {
          const left = file.changes.filter((change) => !lostChanges.includes(change))
          files.set(name, contentOf(left))
          const whichLeft = left.map((change) => file.changes.indexOf(change)).join()
          keys.push(`${name}=${this.#numberOf(file)}:${whichLeft}`)
        }
        yield [keys.sort().join(' '), files]
      }
    }
  }

  #open(args: string, path: string, descriptor: number, opened: string): boolean {
    const [, shown = ''] = /^<(.*?)>/.exec(opened) ?? []
    const name = this.#nameIn(path)
    if (args.includes('O_TMPFILE') && pathOf(shown).startsWith(`${this.#directory}/`)) {
      const file = { changes: [], synced: 0 }
      this.#opened.set(pathOf(shown), file)
      this.#nameless.set(descriptor, file)
    } else if (args.includes('O_CREAT') && name !== undefined && !this.#names.has(name)) {
      this.#setName(name, { changes: [], synced: 0 })
    } else if (args.includes('O_TRUNC') && name !== undefined) {
      this.#names.get(name)?.changes.push({ offset: 0 })
    } else {
      return false
    }
    return true
  }

  /** Undefined if the path is not in the directory. */
  #nameIn(path: string): string | undefined {
    return path.startsWith(`${this.#directory}/`) ? path.slice(this.#directory.length + 1) : undefined
  }

  #setName(name: string, file: TracedFile | undefined): void {
    const naming = { name, file }
    setIn(this.#names, naming)
    this.#unsyncedNamings.push(naming)
  }

  #syncNames(): void {
    for (const naming of this.#unsyncedNamings) setIn(this.#namesOnDisk, naming)
    this.#unsyncedNamings = []
  }

  #numberOf(file: TracedFile): number {
    const number = this.#numbers.get(file) ?? this.#numbers.size
    this.#numbers.set(file, number)
    return number
  }
}

function setIn(names: Map<string, TracedFile>, { name, file }: Naming): void {
  if (file === undefined) names.delete(name)
  else names.set(name, file)
}

/** Decodes a path printed by -y, which -xx escapes in part. */
function pathOf(shown: string): string {
  return shown.includes('\\x') ? unescaped(shown).toString() : shown
}
