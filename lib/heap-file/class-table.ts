/**
 * The classes of the objects on a heap, grouped as in DevTools: objects by the name of their
 * constructor, everything else by kind. During the scan a name is only an index, since the strings
 * are at the end of the file.
 */

import { BitSet, GrowingFloat64 } from './growing.js'
import type { Layout } from './layout.js'
import { decodeString, type RawString } from './string-array.js'

export interface ClassTotals {
  name: string
  count: number
  /** Bytes of the objects themselves. */
  bytes: number
}

/** DevTools' names of the groups that are not named after their type. */
const groupNames: Readonly<Record<string, string>> = {
  hidden: '(system)',
  code: '(compiled code)',
  closure: 'Function',
  regexp: 'RegExp',
}

/**
 * Nodes of these types are grouped by name; each name of synthetic nodes (roots) is a group of its
 * own.
 */
const namedTypes = ['object', 'native', 'synthetic']

/** `detachedness` of a DOM node that is no longer in a document. */
const detached = 2

/**
 * A program has thousands of classes, and a page of Chrome has hundreds of thousands of elements
 * with attributes in their names. Classes beyond this limit are merged.
 */
export const maxClasses = 1_000_000
const furtherClasses = '(further classes)'
const maxNameBytes = 200

export class ClassTable {
  /** Class of the nodes of each type; -1 for types that are grouped by name. */
  readonly #groups: readonly number[]
  readonly #synthetic: number
  readonly #native: number
  /** Class by name and kind, with the key `name * 4 + kind`. */
  readonly #named = new Map<number, number>()
  readonly #names: (string | undefined)[] = []
  readonly #isSynthetic = new BitSet()
  readonly #wanted = new BitSet()
  readonly #counts = new GrowingFloat64()
  readonly #bytes = new GrowingFloat64()
  #further = -1

  constructor({ nodeTypes }: Layout) {
    this.#synthetic = nodeTypes.indexOf('synthetic')
    this.#native = nodeTypes.indexOf('native')
    this.#groups = nodeTypes.map((type) =>
      namedTypes.includes(type) ? -1 : this.#add(groupNames[type] ?? `(${type})`),
    )
  }

  /** Returns the class of a node with these fields. */
  classOf(type: number, name: number, detachedness: number): number {
    const group = this.#groups[type] as number
    if (group >= 0) return group
    const isSynthetic = type === this.#synthetic
    const isDetached = type === this.#native && detachedness === detached
    const key = name * 4 + (isSynthetic ? 2 : isDetached ? 1 : 0)
    const known = this.#named.get(key)
    if (known !== undefined) return known
    if (this.#named.size >= maxClasses) {
      if (this.#further < 0) this.#further = this.#add(furtherClasses)
      return this.#further
    }
    const added = this.#add(undefined)
    if (isSynthetic) this.#isSynthetic.add(added)
    this.#named.set(key, added)
    this.#wanted.add(name)
    return added
  }

  count(of: number, bytes: number): void {
    // DevTools does not list nodes of size 0: roots, and V8's shared read-only objects.
    if (bytes === 0) return
    this.#counts.add(of, 1)
    this.#bytes.add(of, bytes)
  }

  /** Stores the string with this index if it is the name of a class. */
  takeName(index: number, string: RawString): void {
    if (!this.#wanted.has(index)) return
    const name = decodeString(string, maxNameBytes)
    for (const kind of [0, 1, 2]) {
      const known = this.#named.get(index * 4 + kind)
      if (known !== undefined) this.#names[known] = nameOf(name, kind === 1)
    }
  }

  /** True once the names of all classes have been read. */
  get complete(): boolean {
    return !this.#names.includes(undefined)
  }

  isSynthetic(of: number): boolean {
    return this.#isSynthetic.has(of)
  }

  name(of: number): string {
    return this.#names[of] ?? ''
  }

  get length(): number {
    return this.#names.length
  }

  /** For each class, the first class with the same name. */
  sameNames(): Uint32Array {
    const first = new Map<string, number>()
    return Uint32Array.from(this.#names, (name, of) => {
      const key = `${this.isSynthetic(of)} ${name}`
      const known = first.get(key) ?? of
      first.set(key, known)
      return known
    })
  }

  totals(of: number): ClassTotals {
    return { name: this.name(of), count: this.#counts.at(of), bytes: this.#bytes.at(of) }
  }

  #add(name: string | undefined): number {
    this.#counts.push(0)
    this.#bytes.push(0)
    return this.#names.push(name) - 1
  }
}

/** Reduces the name of an element to its tag: `<div id="a">` becomes `<div>`. */
function nameOf(name: string, isDetached: boolean): string {
  const full = isDetached && !name.startsWith('Detached ') ? `Detached ${name}` : name
  const tag = /^((?:Detached )?<[^ ]*) /.exec(full)
  return tag === null ? full : `${tag[1]}>`
}
