/** What an archive holds: its frames by number and by id, and which of them build on which. */

import type { Manifest } from './manifest.js'

/** A frame as its manifest tells, or what can be told of one whose manifest is damaged. */
export interface Entry {
  readonly number: number
  /** Of a damaged one: what the file of its memory says, if that can be read. */
  readonly manifest: Manifest | undefined
  /** Why the frame cannot be relied on; undefined for one that nothing is known against. */
  readonly damage?: string
}

/** An entry that says what it is. */
export type KnownEntry = Entry & { readonly manifest: Manifest }

/** The files that a frame is read from. */
export interface Chain {
  /** From the frame itself down to the full one. */
  readonly entries: readonly KnownEntry[]
  /** The id of a frame that is not there, on which the last of `entries` builds. */
  readonly missing: string | undefined
}

export class FrameTable {
  readonly #byNumber = new Map<number, Entry>()
  readonly #byId = new Map<string, KnownEntry>()
  #inOrder: Entry[] | undefined

  constructor(entries: Iterable<Entry> = []) {
    for (const entry of entries) this.put(entry)
  }

  put(entry: Entry): void {
    this.#byNumber.set(entry.number, entry)
    if (isKnown(entry)) this.#byId.set(entry.manifest.id, entry)
    this.#inOrder = undefined
  }

  remove({ number, manifest }: Entry): void {
    this.#byNumber.delete(number)
    if (manifest !== undefined) this.#byId.delete(manifest.id)
    this.#inOrder = undefined
  }

  get(number: number): Entry | undefined {
    return this.#byNumber.get(number)
  }

  byId(id: string): KnownEntry | undefined {
    return this.#byId.get(id)
  }

  /** All, in order of number. */
  all(): readonly Entry[] {
    this.#inOrder ??= [...this.#byNumber.values()].sort((a, b) => a.number - b.number)
    return this.#inOrder
  }

  /** Those that have not been given up, in order of number. */
  listed(): Entry[] {
    return this.all().filter((entry) => entry.manifest?.retiredAtMs === undefined)
  }

  /** Those that have been given up, and whose files may still be needed. */
  retired(): KnownEntry[] {
    return this.all()
      .filter(isKnown)
      .filter((entry) => entry.manifest.retiredAtMs !== undefined)
  }

  chainOf(entry: KnownEntry): Chain {
    const entries = [entry]
    for (let { parentId } = entry.manifest; parentId !== undefined; ) {
      const parent = this.#byId.get(parentId)
      // No frame builds on a later one: a circle would be a forgery.
      if (parent === undefined || parent.number >= (entries.at(-1) as KnownEntry).number)
        return { entries, missing: parentId }
      entries.push(parent)
      ;({ parentId } = parent.manifest)
    }
    return { entries, missing: undefined }
  }

  /** The numbers of the frames whose memory is needed to read one that is listed. */
  needed(): Set<number> {
    const needed = new Set<number>()
    for (const entry of this.listed()) {
      needed.add(entry.number)
      if (!isKnown(entry)) continue
      for (const { number } of this.chainOf(entry).entries) needed.add(number)
    }
    return needed
  }
}

export function isKnown(entry: Entry): entry is KnownEntry {
  return entry.manifest !== undefined
}
