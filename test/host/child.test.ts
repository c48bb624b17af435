/**
 * Promise: the child of a capture is expendable (I5): it is the first victim when memory is short,
 * and ends without having run any code of the host. Proved by inspecting a held child, and with a
 * host whose native code leaves a mark whenever a process exits normally.
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
