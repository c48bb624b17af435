/**
 * A service whose memory changes between frames, with a copy of the memory at each frame as the
 * oracle.
 */

import { Region } from 'stillframe'
import type { Archive, Frame } from 'stillframe/archive'
import { Random } from '../support/random.mjs'
import { writeRandomly } from '../support/random-writes.js'

export async function listOf(archive: Archive): Promise<Frame[]> {
  const frames: Frame[] = []
  for await (const frame of archive.frames()) frames.push(frame)
  return frames
}

export async function numbersOf(archive: Archive): Promise<number[]> {
  return (await listOf(archive)).map(({ number }) => number)
}

export class History {
  readonly region: Region
  readonly bytes: Uint8Array
  readonly #random: Random
  /** Copies of the memory, by id of the frame. */
  readonly #copies = new Map<string, Uint8Array>()

  constructor(byteLength = 256 * 1024, seed = 1) {
    this.region = Region.allocate(byteLength)
    this.bytes = new Uint8Array(this.region.buffer)
    this.#random = new Random(seed)
    this.#random.fill(this.bytes)
  }

  change(times = 5): void {
    writeRandomly(this.bytes, this.#random, times)
  }

  /** Takes a frame of the current memory and waits until it is complete. */
  async take(archive: Archive, options?: Parameters<Archive['capture']>[1]): Promise<string> {
    this.change()
    const copy = new Uint8Array(this.bytes)
    const snapshot = archive.capture(this.region, options)
    this.change()
    this.#copies.set(snapshot.id, copy)
    await snapshot.done
    return snapshot.id
  }

  /** Numbers of the frames that do not restore to their original contents. */
  async wrongOf(archive: Archive, frames: readonly Frame[]): Promise<number[]> {
    const wrong: number[] = []
    for (const { id, number } of frames) {
      const expected = this.#copies.get(id)
      const restored = await archive.restore({ id })
      const found = restored.regions['main']
      const same =
        found !== undefined &&
        expected !== undefined &&
        Buffer.compare(Buffer.from(found.buffer), expected) === 0
      if (!same || restored.frame.number !== number) wrong.push(number)
      restored.close()
    }
    return wrong
  }

  /** True if these bytes are the contents of the memory at that frame. */
  isCopyOf(id: string, bytes: ArrayBuffer | undefined): boolean {
    const expected = this.#copies.get(id)
    return bytes !== undefined && expected !== undefined && Buffer.compare(Buffer.from(bytes), expected) === 0
  }

  close(): void {
    this.region.close()
  }
}
