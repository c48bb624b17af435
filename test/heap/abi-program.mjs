/** Uses stillframe/heap, then stillframe, and prints both outcomes. */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { restore, snapshot } from 'stillframe'
import { snapshotState } from 'stillframe/heap'

const directory = mkdtempSync(path.join(tmpdir(), 'stillframe-abi-'))
try {
  /** @type {object} */
  let heap = { message: 'it worked' }
  try {
    await snapshotState(path.join(directory, 'state'), (out) => out.write('state')).done
  } catch (error) {
    const { code, message } = /** @type {any} */ (error)
    heap = { code, message }
  }
  const file = path.join(directory, 'memory')
  await snapshot(new TextEncoder().encode('bytes'), file).done
  const restored = await restore(file)
  console.log(
    JSON.stringify({ heap, restored: Buffer.from(restored.regions.main.buffer).toString('utf8', 0, 5) }),
  )
  restored.close()
} finally {
  rmSync(directory, { recursive: true, force: true })
}
