/**
 * Promise: an engine that is refused for a temporary reason, such as a lack of descriptors, is used
 * again as soon as possible (I11). Proved by making the first probe of the process fail.
 */

import { Region, snapshot } from 'stillframe'
import { expect, test } from 'vitest'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { needsVariant } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test('userfaultfd, after a moment without descriptors', async (context) => {
  // Memory that the kernel may write to needs the fault thread.
  needsVariant(context, 'userfaultfd thread')
  using region = Region.allocate(1 << 20)
  injectFault('userfaultfd', 1, 'EMFILE', true)
  const first = snapshot(region, inDirectory('file'))
  clearFaults()
  expect(first.engine).toBe('fork')
  await first.done
  const second = snapshot(region, inDirectory('file'))
  expect(second.engine).toBe('userfaultfd')
  await second.done
})
