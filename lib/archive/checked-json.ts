/** Text that is known to be whole: a line of JSON, whose last member is the CRC-32 of what is before it. */

import { crc32 } from 'node:zlib'

/** Ends the text in front of the checksum. */
const seal = /,"crc32":"([0-9a-f]{8})"\}\n$/

/** @param value - of at least one member, and none of it called `crc32`. */
export function encodeChecked(value: object): string {
  const body = JSON.stringify(value).slice(0, -1)
  return `${body},"crc32":"${checksumOf(body)}"}\n`
}

/**
 * @returns what was encoded, of which nothing else has been checked.
 * @throws Error with the reason why it cannot be believed.
 */
export function decodeChecked(text: string): unknown {
  const [sealed, sum] = seal.exec(text) ?? []
  if (sealed === undefined) throw new Error('it does not end as a manifest does')
  if (checksumOf(text.slice(0, -sealed.length)) !== sum) throw new Error('its checksum is wrong')
  const { crc32: _, ...value } = JSON.parse(text) as Record<string, unknown>
  return value
}

/** CRC-32 in hexadecimal digits, as all files of an archive have it. */
export function checksumOf(data: string | Uint8Array): string {
  return digitsOf(crc32(data))
}

export function digitsOf(sum: number): string {
  return sum.toString(16).padStart(8, '0')
}
