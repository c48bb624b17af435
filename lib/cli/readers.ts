/** The readers for snapshots: the addon or, on platforms without one, the portable reader. */

import { hasPlatform } from '../addon/load.js'
import * as native from '../index.js'

type Readers = Pick<typeof native, 'inspect' | 'verify'>

/**
 * Chooses the reader for this platform. A missing addon on a supported platform is still an error.
 */
export async function readersHere(): Promise<Readers> {
  return hasPlatform() ? native : await import('../reader/index.js')
}
