/**
 * Promise: callbacks that the caller passes in run in the caller's async context
 * (AsyncLocalStorage, tracing), including the last call. Proved with a store that only the caller
 * has.
 */

import { AsyncLocalStorage } from 'node:async_hooks'
import { Region, restore, snapshot, verify } from 'stillframe'
import { snapshotState } from 'stillframe/heap'
import { expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()

test('onProgress is called with the store of the caller', async () => {
  const context = new AsyncLocalStorage<string>()
  const stores: unknown[] = []
  const onProgress = (): void => {
    stores.push(context.getStore())
  }
  using region = Region.allocate(1 << 20)
  const path = inDirectory('file')
  // One after the other, each started inside the context and awaited outside.
  const jobs: (() => Promise<unknown>)[] = [
    () => snapshot(region, path, { onProgress }).done,
    () => verify(path, { onProgress }),
    () => restore(path, { onProgress }).then((restored) => restored.close()),
    () => snapshotState(inDirectory('state'), (out) => out.value(1), { onProgress }).done,
  ]
  for (const job of jobs) {
    stores.length = 0
    await context.run('of the caller', job)
    expect(new Set(stores)).toEqual(new Set(['of the caller']))
  }
})
