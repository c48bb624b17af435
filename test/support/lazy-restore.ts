/** What tests of restores with mode 'lazy' need of the machine. */

import { capabilities } from 'stillframe'
import type { TestContext } from 'vitest'

/** Skips the test, with the reason, where userfaultfd may not be used at all. */
export function needsLazyRestore(context: TestContext): void {
  const { available = false, reason = 'not known' } = capabilities().features['userfaultfd_missing'] ?? {}
  if (!available) context.skip(reason)
}
