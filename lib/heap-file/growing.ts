/** Growing lists of numbers, in a tenth of the memory of an Array. */

/** Integers below 2^32. */
export class GrowingUint32 {
  #values = new Uint32Array(1024)
  length = 0

  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new Uint32Array(this.length * 2)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.length++] = value
  }

  get values(): Uint32Array {
    return this.#values.subarray(0, this.length)
  }
}

/** Offsets, sizes and counts. */
export class GrowingFloat64 {
  #values = new Float64Array(1024)
  length = 0

  push(value: number): void {
    if (this.length === this.#values.length) {
      const larger = new Float64Array(this.length * 2)
      larger.set(this.#values)
      this.#values = larger
    }
    this.#values[this.length++] = value
  }

  /** Returns 0 beyond the end. */
  at(index: number): number {
    return index < this.length ? (this.#values[index] as number) : 0
  }

  add(index: number, value: number): void {
    this.#values[index] = this.at(index) + value
  }
}

/** A set of small integers, with one bit for each up to the largest that was added. */
export class BitSet {
  #words: Uint32Array

  constructor(length = 0) {
    this.#words = new Uint32Array((length >>> 5) + 1)
  }

  add(index: number): void {
    const word = Math.floor(index / 32)
    if (word >= this.#words.length) {
      const larger = new Uint32Array(Math.max(word + 1, this.#words.length * 2))
      larger.set(this.#words)
      this.#words = larger
    }
    this.#words[word] = (this.#words[word] as number) | (1 << (index & 31))
  }

  has(index: number): boolean {
    const word = this.#words[Math.floor(index / 32)] ?? 0
    return (word & (1 << (index & 31))) !== 0
  }

  clear(): void {
    this.#words.fill(0)
  }
}
