/** Damage to files. */

import { closeSync, openSync, readSync, writeSync } from 'node:fs'

/** Flips all bits of one byte of a file. */
export function flipByte(path: string, offset: number): void {
  const file = openSync(path, 'r+')
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, offset)
  byte.writeUInt8(byte.readUInt8(0) ^ 0xff)
  writeSync(file, byte, 0, 1, offset)
  closeSync(file)
}
