// Promise I9: names and metadata are restored as they were given, whatever JSON and Unicode they
// contain. Proved with generated names and JSON values of every shape, read by inspect() and by
// restore().

import { join } from 'node:path'
import { toUSVString } from 'node:util'
import fc from 'fast-check'
import { inspect, type JsonValue, restore, snapshot } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { seeded } from '../support/random.mjs'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'contents.snap')
const memory = new Uint8Array([1, 2, 3])

/** Takes a snapshot with this metadata and reads it back in both ways. */
async function roundTrip(metadata: JsonValue): Promise<[unknown, unknown]> {
  await snapshot(memory, path, { metadata, durable: false }).done
  using restored = await restore(path)
  return [(await inspect(path)).metadata, restored.metadata]
}

describe('metadata comes back as it was given', () => {
  const values: JsonValue[] = [
    null,
    true,
    false,
    0,
    -1.5e-300,
    Number.MAX_SAFE_INTEGER,
    '',
    'text',
    'quotes " and \\ and \n and \u0001 and \u2028',
    'Grüße, 東京, 🧊, e\u0301, \u202Eright to left',
    [],
    {},
    [[], [{}], null, [1, [2, [3]]]],
    { '': 'empty key', __proto__x: 1, ключ: { 深い: ['値'] } },
    JSON.parse('{"__proto__": {"polluted": true}}') as JsonValue,
    'x'.repeat(1 << 20),
  ]
  it.each(values.map((value) => [JSON.stringify(value).slice(0, 50), value] as const))(
    'when it is %s',
    async (_name, value) => {
      for (const found of await roundTrip(value)) expect(JSON.stringify(found)).toBe(JSON.stringify(value))
      expect(({} as Record<string, unknown>)['polluted']).toBeUndefined()
    },
  )

  it('when it is any JSON', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ stringUnit: 'binary' }), async (value) => {
        const plain = JSON.parse(JSON.stringify(value)) as JsonValue
        if (/\\ud[89a-f]/i.test(JSON.stringify(plain))) return // lone surrogates have no UTF-8
        for (const found of await roundTrip(plain)) expect(JSON.stringify(found)).toBe(JSON.stringify(plain))
      }),
      seeded(60),
    )
  })

  it('as it was at the call, not later', async () => {
    const metadata = { sequence: 1, list: [1] }
    const { done } = snapshot(memory, path, { metadata, durable: false })
    metadata.sequence = 2
    metadata.list.push(2)
    await done
    expect((await inspect(path)).metadata).toEqual({ sequence: 1, list: [1] })
  })

  it('and undefined stays undefined', async () => {
    await snapshot(memory, path, { durable: false }).done
    expect((await inspect(path)).metadata).toBeUndefined()
  })
})

describe('sections come back under their names', () => {
  const name = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 80 })
    .filter((text) => !text.includes('\0') && toUSVString(text) === text && Buffer.byteLength(text) <= 255)

  async function expectNames(names: readonly string[]): Promise<void> {
    const parts = names.map((_, index) => new Uint8Array([index, index >> 8, 7]))
    // Has no prototype, so `__proto__` is a name like any other, which it would not be in a
    // literal.
    const sources = Object.create(null) as Record<string, Uint8Array>
    for (const [index, key] of names.entries()) sources[key] = parts[index] as Uint8Array
    await snapshot(sources, path, { durable: false }).done
    // Objects list integer-like keys first.
    const order = Object.keys(sources)
    expect((await inspect(path)).sections.map((section) => section.name)).toEqual(order)
    using restored = await restore(path, { mode: 'copy' })
    expect(Object.keys(restored.regions).sort()).toEqual([...order].sort())
    for (const [index, key] of names.entries()) {
      const region = restored.regions[key]
      expect(region?.name).toBe(key)
      expect([...new Uint8Array(region?.buffer as ArrayBuffer)]).toEqual([...(parts[index] as Uint8Array)])
    }
  }

  it('in any Unicode', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uniqueArray(name, { minLength: 1, maxLength: 12 }), expectNames),
      seeded(40),
    )
  })

  it('when they are hard to tell apart, or mean something to JavaScript or the file system', () =>
    expectNames([
      'é',
      'e\u0301',
      'É',
      '__proto__',
      'constructor',
      'toString',
      '0',
      '-0',
      '00',
      ' ',
      '.',
      '..',
      '/',
      'a/b',
      '\n',
      '\u001b[31m',
      '🧊'.repeat(63),
      'x'.repeat(255),
      '漢字'.repeat(42),
    ]))
})
