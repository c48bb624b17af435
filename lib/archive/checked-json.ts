/** JSON with a checksum: one line, whose last member is the CRC-32 of the text before it. */

import { crc32 } from 'node:zlib'

/** Matches the end of the text, with the checksum. */
const seal = /,"crc32":"([0-9a-f]{8})"\}\n$/

/** @param value - an object with at least one member, and none named `crc32`. */
export function encodeChecked(value: object): string {
  const body = JSON.stringify(value).slice(0, -1)
  return `${body},"crc32":"${checksumOf(body)}"}\n`
}

/**
 * @returns the encoded value. Only its checksum has been verified.
 * @throws Error with the reason why the text is not valid.
 */
export function decodeChecked(text: string): unknown {
  const [sealed, sum] = seal.exec(text) ?? []
  if (sealed === undefined) throw new Error('it does not end with its checksum')
  if (checksumOf(text.slice(0, -sealed.length)) !== sum) throw new Error('its checksum is wrong')
  const { crc32: _, ...value } = JSON.parse(text) as Record<string, unknown>
  return value
}

/** CRC-32 in 8 hexadecimal digits, as in all files of an archive. */
export function checksumOf(data: string | Uint8Array): string {
  return digitsOf(crc32(data))
}

export function digitsOf(sum: number): string {
  return sum.toString(16).padStart(8, '0')
}
