/**
 * Promise: the recipe for retention in docs/OPERATIONS.md works as it stands, also when the clock was set back. Proved by
 * running what stands there, with a clock that jumps.
 */

import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { inspect, Region } from 'stillframe'
import { expect, onTestFinished, test, vi } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const text = readFileSync(new URL('../../docs/OPERATIONS.md', import.meta.url), 'utf8')

test('the newest files are kept, whatever the clock says', async () => {
  const [, recipe = ''] = /```js\n([^`]*export async function keepSnapshots.*?)```/s.exec(text) ?? []
  const stillframe = new URL('../../dist/index.js', import.meta.url).href
  writeFileSync(inDirectory('recipe.mjs'), recipe.replace("'stillframe'", JSON.stringify(stillframe)))
  const { keepSnapshots } = await import(pathToFileURL(inDirectory('recipe.mjs')).href)

  // Each new snapshot is a day older than the one before, by the clock.
  let now = Date.UTC(2030, 0, 1)
  vi.useFakeTimers({ toFake: ['Date'], now })
  onTestFinished(() => void vi.useRealTimers())
  const end = new AbortController()
  const saved: string[] = []
  vi.spyOn(console, 'log').mockImplementation((line: string) => {
    saved.push(JSON.parse(line).path)
    now -= 86_400_000
    vi.setSystemTime(now)
    if (saved.length === 5) end.abort()
  })
  const region = Region.allocate(4096)
  const directory = inDirectory('kept')
  mkdirSync(directory)
  await keepSnapshots({ region }, directory, { everyMs: 1, keep: 3, signal: end.signal })
  vi.restoreAllMocks()

  const left = readdirSync(directory).map((name) => `${directory}/${name}`)
  const last = saved.at(-1) as string
  expect(left.sort()).toEqual(saved.slice(-3).sort())
  expect((await inspect(last)).sections.map(({ name }) => name)).toEqual(['region'])
})
