/** The frames of an archive by number and by id, and the chains that they form. */

import type { Manifest } from './manifest.js'

/**
 * A frame as its manifest describes it, or the remaining facts about a frame whose manifest is
 * damaged.
 */
export interface Entry {
  readonly number: number
  /**
   * If the manifest is damaged, what the memory file says instead; undefined if that is unreadable,
   * too.
   */
  readonly manifest: Manifest | undefined
  /** Why the frame is unreliable; undefined if no damage is known. */
  readonly damage?: string
}

/** An entry whose frame is known. */
export type KnownEntry = Entry & { readonly manifest: Manifest }

/** The frames whose files are needed to read a frame. */
export interface Chain {
  /** From the frame itself down to the full one. */
  readonly entries: readonly KnownEntry[]
  /** Id of the missing parent of the last entry; undefined if the chain is complete. */
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

  /** All entries, in order of number. */
  all(): readonly Entry[] {
    this.#inOrder ??= [...this.#byNumber.values()].sort((a, b) => a.number - b.number)
    return this.#inOrder
  }

  /** Entries that have not been retired, in order of number. */
  listed(): Entry[] {
    return this.all().filter((entry) => entry.manifest?.retiredAtMs === undefined)
  }

  /** Retired entries, whose files may still be needed. */
  retired(): KnownEntry[] {
    return this.all()
      .filter(isKnown)
      .filter((entry) => entry.manifest.retiredAtMs !== undefined)
  }

  chainOf(entry: KnownEntry): Chain {
    const entries = [entry]
    for (let { parentId } = entry.manifest; parentId !== undefined; ) {
      const parent = this.#byId.get(parentId)
      // A frame never builds on a later one. A cycle would be a forgery.
      if (parent === undefined || parent.number >= (entries.at(-1) as KnownEntry).number)
        return { entries, missing: parentId }
      entries.push(parent)
      ;({ parentId } = parent.manifest)
    }
    return { entries, missing: undefined }
  }

  /** Numbers of the frames whose memory is needed to read any listed frame. */
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
