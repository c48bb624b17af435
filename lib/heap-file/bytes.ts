/** Bytes of the JSON grammar, and the interface of readers of JSON values. */

export const tab = 0x09
export const newline = 0x0a
export const carriageReturn = 0x0d
export const blank = 0x20
export const quote = 0x22
export const comma = 0x2c
export const zero = 0x30
export const nine = 0x39
export const colon = 0x3a
export const leftBracket = 0x5b
export const backslash = 0x5c
export const rightBracket = 0x5d
export const leftBrace = 0x7b
export const rightBrace = 0x7d

export function isBlank(byte: number): boolean {
  return byte === blank || byte === newline || byte === carriageReturn || byte === tab
}

/** Formats a byte for error messages. */
export function shown(byte: number): string {
  return byte > blank && byte < 0x7f
    ? `'${String.fromCharCode(byte)}'`
    : `0x${byte.toString(16).padStart(2, '0')}`
}

/** Reads one value of a JSON document that arrives in chunks, which may be split anywhere. */
export interface Part {
  /** True after the last byte of the value. */
  readonly done: boolean
  /**
   * Reads a chunk from index `from` on; byte 0 of the chunk is at `offset` in the file.
   *
   * @returns the index after the last byte used: the end of the value, or the length of the chunk.
   * @throws Malformed
   */
  scan(bytes: Uint8Array, from: number, offset: number): number
}
