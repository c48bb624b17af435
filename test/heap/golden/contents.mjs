/** The values in the golden files, in order, by the name of the file. */

import { Buffer } from 'node:buffer'

const cyclic = { name: 'cyclic' }
cyclic.self = cyclic

export const golden = {
  'every-kind': [
    undefined,
    null,
    true,
    0,
    -0,
    1.5,
    Number.NaN,
    Number.NEGATIVE_INFINITY,
    -(2n ** 70n),
    '',
    'Latin-1: äöü',
    'more: € \u{1f600}',
    new Date(1_700_000_000_123),
    /a+b/giu,
    [1, 'two', [3, []]],
    { list: [], nested: { deep: { deeper: true } } },
    new Map([
      ['key', { value: 1 }],
      [{ object: 'as key' }, new Set([1, 'a', null])],
    ]),
    Object('boxed'),
    new Uint8Array([0, 1, 255]),
    new Uint8ClampedArray([9]),
    new Int16Array([-2, 2]),
    new Float32Array([1.5, -2.5]),
    new Float64Array([Math.PI]),
    new BigInt64Array([-1n, 2n ** 62n]),
    new DataView(new Uint8Array([1, 2, 3]).buffer, 1),
    new Uint8Array([4, 5, 6]).buffer,
    Buffer.from('bytes'),
    cyclic,
  ],
  // Longer than any buffer on the path of the data.
  long: ['x'.repeat(2 ** 21), new Uint8Array(2 ** 21).fill(7), 'the end'],
  empty: [],
}
