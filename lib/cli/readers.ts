/** What the commands read snapshots with: the addon, and where there can be none, the reader that works without. */

import { hasPlatform } from '../addon/load.js'
import * as native from '../index.js'

type Readers = Pick<typeof native, 'inspect' | 'verify'>

/** Those that work on this platform. An addon that is missing where there should be one is an error all the same. */
export async function readersHere(): Promise<Readers> {
  return hasPlatform() ? native : await import('../reader/index.js')
}
