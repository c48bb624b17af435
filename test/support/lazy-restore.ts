/** Machine requirements of tests of restores with mode 'lazy'. */

import { capabilities } from 'stillframe'
import type { TestContext } from 'vitest'

/** Skips the test, with the reason, if userfaultfd is not available. */
export function needsLazyRestore(context: TestContext): void {
  const { available = false, reason = 'not known' } = capabilities().features['userfaultfd_missing'] ?? {}
  if (!available) context.skip(reason)
}
