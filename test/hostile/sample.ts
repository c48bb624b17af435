/** A small snapshot for tests to damage, and the errors from reading it in every way. */

import { inspect, type RestoreOptions, restore, snapshot, type VerifyReport, verify } from 'stillframe'
import { type CodedError, rejectionOf } from '../support/expect-error.js'

/** Contents of the sample: two pages, then a block of zeros and a page, then one byte. */
export const contents = {
  first: new Uint8Array(5000).fill(3),
  'zero then some': new Uint8Array(262_144 + 300).fill(5, 262_144),
  last: Uint8Array.of(7),
} satisfies Record<string, Uint8Array>
const sample: Record<string, Uint8Array> = contents

export async function writeSample(path: string): Promise<void> {
  await snapshot(contents, path, { metadata: { epoch: 7 } }).done
}

/** Fresh memory for each section, filled with a mark. */
function marked(sections: Record<string, Uint8Array>): Record<string, Uint8Array> {
  return Object.fromEntries(
    Object.entries(sections).map(([name, bytes]) => [name, new Uint8Array(bytes.length).fill(0xaa)]),
  )
}

/**
 * How a file was refused: the error of each function, and whether any memory was changed before.
 */
export interface Refusal {
  errors: CodedError[]
  report: VerifyReport | CodedError
  touched: boolean
}

/** Opens a file with these sections in every way. Each must reject. */
export async function refusalOf(path: string, inspects = true, sections = sample): Promise<Refusal> {
  const into = marked(sections)
  const ways: RestoreOptions[] = [{ mode: 'map' }, { mode: 'copy' }, { into }]
  const errors: CodedError[] = []
  for (const options of ways) errors.push(await rejectionOf(restore(path, options)))
  if (inspects) errors.push(await rejectionOf(inspect(path)))
  const report = await verify(path).catch((error: CodedError) => error)
  const touched = Object.values(into).some((bytes) => bytes.some((byte) => byte !== 0xaa))
  return { errors, report, touched }
}
