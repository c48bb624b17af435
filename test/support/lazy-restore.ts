/** What tests of restores with mode 'lazy' need of the machine. */

import { join } from 'node:path'
import { restore, snapshot } from 'stillframe'
import type { TestContext } from 'vitest'

/** Skips the test, with the reason, where userfaultfd may not be used at all. `directory`: a file is made there. */
export async function needsLazyRestore(context: TestContext, directory: string): Promise<void> {
  const path = join(directory, 'probe.lazy')
  await snapshot(new Uint8Array(4096), path, { overwrite: true }).done
  try {
    const restored = await restore(path, { mode: 'lazy' })
    await restored.ready
    restored.close()
  } catch (error) {
    if ((error as { code?: string }).code !== 'ERR_STILLFRAME_ENGINE_UNAVAILABLE') throw error
    context.skip((error as Error).message)
  }
}
