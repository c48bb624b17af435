/** WebAssembly modules of a given size, different for each seed, so that no cache contains them. */

const i32 = 0x7f
const opcode = { end: 0x0b, localGet: 0x20, i32Const: 0x41 }
/** i32.add, sub, mul, and, or, xor, shl, rotl */
const operations = [0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x77]

/** @param {number} value */
function unsigned(value) {
  const bytes = []
  for (let rest = value; ; rest >>>= 7) {
    if (rest < 0x80) return [...bytes, rest]
    bytes.push((rest & 0x7f) | 0x80)
  }
}

/** @param {number} id @param {number[]} content */
const section = (id, content) => [id, ...unsigned(content.length), ...content]
/** @param {number[][]} items */
const vector = (items) => [...unsigned(items.length), ...items.flat()]

/**
 * Returns a module that exports `run0`, `run1`, …: (i32) -> i32.
 *
 * @param {() => number} random
 * @param {{ functions: number, operations: number }} size
 */
export function wasmModule(random, size) {
  const below = (/** @type {number} */ limit) => Math.floor(random() * limit)
  const body = () => {
    const code = [0, opcode.localGet, 0] // no further locals
    for (let i = 0; i < size.operations; i++) {
      code.push(opcode.i32Const, below(64), operations[below(operations.length)] ?? 0)
    }
    code.push(opcode.end)
    return [...unsigned(code.length), ...code]
  }
  const numbers = Array.from({ length: size.functions }, (_, i) => i)
  return new Uint8Array([
    ...[0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, vector([[0x60, 1, i32, 1, i32]])),
    ...section(3, vector(numbers.map(() => [0]))),
    ...section(7, vector(numbers.map((i) => [...exportName(i), 0, ...unsigned(i)]))),
    ...section(10, vector(numbers.map(body))),
  ])
}

/** @param {number} index */
function exportName(index) {
  const name = [...Buffer.from(`run${index}`)]
  return [...unsigned(name.length), ...name]
}
