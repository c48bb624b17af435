/**
 * Promise I1 and I15 for examples/sqlite-wasm.mjs: a database in WebAssembly returns to each frame
 * of its archive, and is restored from the newest frame in a new process, even after a SIGKILL
 * during a capture. Proved by running it repeatedly and comparing what SQLite reports about itself.
 */

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { openArchive } from 'stillframe/archive'
import { expect, onTestFinished, test } from 'vitest'
import { strayFilesOf } from '../support/archive-files.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const program = fileURLToPath(new URL('../../examples/sqlite-wasm.mjs', import.meta.url))

/**
 * Runs the program and returns its output by label. Sends SIGKILL after the line that begins with
 * `killAfter`.
 */
async function run(place: string, killAfter?: string): Promise<Record<string, string>> {
  const child = spawn(process.execPath, [program, place, '8'], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const exit = once(child, 'exit') as Promise<[number | null]>
  const said: Record<string, string> = {}
  for await (const line of createInterface({ input: child.stdout })) {
    const [, what, value] = /^(.*?): +(.*)$/.exec(line) ?? [line, line, '']
    said[what as string] = value as string
    if (what === killAfter) child.kill('SIGKILL')
  }
  expect((await exit)[0]).toBe(killAfter === undefined ? 0 : null)
  return said
}

test('it goes back to each frame, and comes back from the newest one', async () => {
  const place = inDirectory('frames')
  const first = await run(place)
  expect(first).toMatchObject({
    'back to first': first['first frame'],
    'and to second': first['second frame'],
    'integrity check': 'ok',
  })
  expect(first['second frame']).not.toBe(first['first frame'])
  expect(first['after writing']).not.toBe(first['second frame'])

  // Killed as soon as the capture of its second frame had begun: that frame is there as a whole or
  // not at all.
  const killed = await run(place, 'second frame')
  expect(killed['at the start']).toBe(first['second frame'])

  const again = await run(place)
  expect([killed['first frame'], killed['second frame']]).toContain(again['at the start'])
  expect(again).toMatchObject({
    'back to first': again['first frame'],
    'and to second': again['second frame'],
    'integrity check': 'ok',
  })

  await using archive = await openArchive(place)
  expect(strayFilesOf(place)).toEqual([])
  const kinds: string[] = []
  for await (const { kind, engine } of archive.frames()) kinds.push(`${kind} ${engine}`)
  expect(kinds.slice(0, 3)).toEqual(['full fork', 'delta fork', 'delta fork'])
  expect((await archive.verify()).ok).toBe(true)
})
