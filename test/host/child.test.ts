/**
 * Promise: the child of a capture is expendable (I5): the first to go when memory is short, and gone without a trace of
 * the host's code having run in it. Proved by looking at a child that is held, and by a host whose native code leaves
 * a mark whenever a process ends in order.
 */

import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { compileLibrary } from '../support/compile.js'
import { startFixture } from '../support/fixture.js'
import { bigRegion, holdSnapshot } from '../support/held-snapshot.mjs'
import { needsTools } from '../support/needs.js'
import { nameOf } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const someWork = new URL('../support/fixtures/some-work.mjs', import.meta.url)

test('a child is the first that the kernel takes when memory runs out, and can be told by its name', async () => {
  const region = bigRegion()
  const own = readFileSync('/proc/self/oom_score_adj', 'utf8')
  const { taken, pid, release } = holdSnapshot(region, inDirectory('file'))
  expect(readFileSync(`/proc/${pid}/oom_score_adj`, 'utf8')).toBe('1000\n')
  expect(nameOf(pid)).toBe('stillframe')
  expect(readFileSync('/proc/self/oom_score_adj', 'utf8')).toBe(own)
  release()
  await taken.done
})

test('a child runs no exit handler and no destructor of the host', async (context) => {
  needsTools(context, 'cc')
  const library = inDirectory('exit_mark.so')
  compileLibrary(new URL('../support/fixtures/exit_mark.c', import.meta.url), library)
  const mark = inDirectory('mark')
  const fixture = startFixture(someWork, ['snapshot', inDirectory('file'), '5'], {
    preload: library,
    env: { EXIT_MARK: mark },
  })
  expect((await fixture.report())['outcomes']).toHaveLength(5)
  await fixture.end
  const marks = readFileSync(mark, 'utf8').trimEnd().split('\n').sort()
  expect(marks).toEqual([`atexit ${fixture.pid}`, `destructor ${fixture.pid}`])
})
