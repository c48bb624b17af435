/**
 * Promise: what names a file comes after what brings it to the disk, and what removes one after what says that it is not needed, so
 * that a loss of power leaves what a kill would. Proved by looking at the order of a service's system calls, since the last sync
 * before each rename, report and removal is what decides.
 */

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { needsStrace } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const turns = new URL('fixtures/turns.mjs', import.meta.url)

interface Call {
  name: 'write' | 'sync' | 'rename' | 'unlink' | 'report'
  /** Name of the file; of a rename, the new one. */
  file: string
  from?: string
  text?: string
}

/** In the order of their ends, with the directory as `archive`. */
function callsIn(trace: string): Call[] {
  const calls: Call[] = []
  const unfinished = new Map<string, string>()
  for (const line of trace.split('\n')) {
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    if (rest.endsWith('<unfinished ...>')) {
      unfinished.set(thread, rest.replace(' <unfinished ...>', ''))
      continue
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest)
    const call = resumed ? `${unfinished.get(thread) ?? ''}${resumed[1]}` : rest
    if (!/ = \d+/.test(call)) continue
    const [, name = '', file = ''] = /^(\w+)\(\d+<([^>]*)>/.exec(call) ?? []
    const quoted = [...call.matchAll(/"([^"]*)"/g)].map(([, text]) => basename(text as string))
    if (name === 'fsync') calls.push({ name: 'sync', file: basename(file) })
    else if (name === 'pwrite64') calls.push({ name: 'write', file: basename(file) })
    else if (call.startsWith('rename('))
      calls.push({ name: 'rename', from: quoted[0] as string, file: quoted[1] as string })
    else if (call.startsWith('unlink(')) calls.push({ name: 'unlink', file: quoted[0] as string })
    else if (name === 'write' && call.startsWith('write(1<'))
      calls.push({ name: 'report', file: '', text: call })
  }
  return calls
}

test('each file is on the disk before its name, each name before it is told or relied on', async (context) => {
  needsStrace(context)
  const fixture = startFixture(turns, [inDirectory('archive')], {
    env: { STILLFRAME_DISABLE: 'bounded_park' },
    wrapper: [
      ...['strace', '-f', '-y', '-s', '60', '-qq', '-o', inDirectory('trace')],
      ...['-e', 'trace=pwrite64,write,fsync,rename,unlink'],
    ],
  })
  await fixture.end
  const calls = callsIn(readFileSync(inDirectory('trace'), 'utf8'))
  const renames = calls.flatMap((call, at) => (call.name === 'rename' ? [{ ...call, at }] : []))
  const lastBefore = (at: number, matches: (call: Call) => boolean): number =>
    calls.slice(0, at).findLastIndex(matches)
  const syncOf = (file: string) => (call: Call) => call.name === 'sync' && call.file === file

  // A manifest is brought to the disk before it is renamed. (The memory is by native code, which has tests of its own.)
  for (const { file, from = '', at } of renames.filter(({ file }) => file.endsWith('.json'))) {
    const synced = lastBefore(at, syncOf(from))
    expect(synced, `${file} has been synced`).toBeGreaterThan(
      lastBefore(at, (call) => call.name === 'write' && call.file === from),
    )
    expect(synced, `${file} has been written`).toBeGreaterThan(-1)
  }
  expect(renames.length).toBeGreaterThan(12)

  // What is told complete has its name on the disk.
  const reports = calls.flatMap((call, at) => (call.text?.includes('complete') ? [at] : []))
  expect(reports.length).toBe(6)
  for (const at of reports) {
    const named = lastBefore(at, (call) => call.name === 'rename' && call.file.endsWith('.json'))
    expect(lastBefore(at, syncOf('archive')), 'the name is on the disk').toBeGreaterThan(named)
  }

  // No file goes before the manifests that say so are on the disk.
  const removed = calls.flatMap((call, at) =>
    call.name === 'unlink' && call.file.endsWith('.sf') ? [at] : [],
  )
  expect(removed.length).toBeGreaterThan(3)
  for (const at of removed) {
    const named = lastBefore(at, (call) => call.name === 'rename' && call.file.endsWith('.json'))
    expect(lastBefore(at, syncOf('archive')), 'the manifests are on the disk').toBeGreaterThan(named)
  }

  // The manifest that needs no parents any more comes after the file that has none.
  const compacted = renames.filter(({ file }) => file.endsWith('.sf'))
  expect(compacted.length).toBe(2)
  for (const { file, at } of compacted) {
    const manifest = renames.find((other) => other.at > at && other.file === file.replace('.sf', '.json'))
    const synced = calls.findIndex((call, index) => index > at && syncOf('archive')(call))
    expect(synced).toBeLessThan(manifest?.at ?? 0)
  }

  // Of a frame the manifest goes last.
  for (const at of removed) {
    const { file = '' } = calls[at] ?? {}
    const manifest = calls.findIndex(
      (call) => call.name === 'unlink' && call.file === file.replace('.sf', '.json'),
    )
    expect(manifest).toBeGreaterThan(at)
  }
})
