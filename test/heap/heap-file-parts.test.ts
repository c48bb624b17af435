/**
 * Promise: the JSON readers behind `stillframe heap` agree with JSON.parse, wherever the bytes are
 * cut. Proved by reading each document whole, byte by byte, and cut at every position, and
 * comparing the results. Whatever JSON.parse refuses is refused.
 */

import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { AnyValue } from '../../lib/heap-file/any-value.js'
import type { Part } from '../../lib/heap-file/bytes.js'
import { JsonObject } from '../../lib/heap-file/document.js'
import { Malformed } from '../../lib/heap-file/malformed.js'
import { NumberArray } from '../../lib/heap-file/number-array.js'
import { decodeString, StringArray } from '../../lib/heap-file/string-array.js'
import { seeded } from '../support/random.mjs'

/** The chunks of a text, cut at the offsets in `cuts`. */
function chunksOf(text: string, cuts: readonly number[]): { bytes: Buffer; offset: number }[] {
  const bytes = Buffer.from(text)
  const borders = [0, ...cuts, bytes.length]
  return borders.slice(1).map((end, index) => {
    const offset = borders[index] ?? 0
    // The memory of a chunk is reused, so the reader must copy whatever it still needs.
    return { bytes: Buffer.from(bytes.subarray(offset, end)), offset }
  })
}

/** No cut, a single cut at each position, and a cut after each byte. */
function waysToCut(text: string): number[][] {
  const length = Buffer.byteLength(text)
  const places = Array.from({ length: Math.max(0, length - 1) }, (_, index) => index + 1)
  return [[], ...places.map((place) => [place]), places]
}

function feed(part: Part, text: string, cuts: readonly number[]): number {
  for (const { bytes, offset } of chunksOf(text, cuts)) {
    const at = part.scan(bytes, 0, offset)
    if (part.done) return offset + at
    expect(at).toBe(bytes.length)
    bytes.fill('x')
  }
  return -1
}

function numbersOf(text: string, cuts: readonly number[], batch: number): { numbers: number[]; end: number } {
  const numbers: number[] = []
  const array = new NumberArray(batch, (values, count) => numbers.push(...values.subarray(0, count)))
  return { end: feed(array, text, cuts), numbers }
}

function stringsOf(text: string, cuts: readonly number[]): { strings: string[]; end: number } {
  const strings: string[] = []
  const array = new StringArray((index, string) => {
    expect(index).toBe(strings.length)
    strings.push(decodeString(string, Number.POSITIVE_INFINITY))
  })
  return { end: feed(array, text, cuts), strings }
}

const blanks = fc.stringMatching(/^[ \n\r\t]{0,2}$/)
/** An array with blanks wherever JSON allows them. */
const arrayOf = (item: fc.Arbitrary<unknown>, maxLength: number): fc.Arbitrary<string> =>
  fc.tuple(fc.array(fc.tuple(blanks, item, blanks), { maxLength }), blanks).map(([items, blank]) => {
    return `[${blank}${items.map(([a, value, b]) => `${a}${String(value)}${b}`).join(',')}]`
  })
const whole = fc.oneof(fc.nat(9), fc.nat(100_000), fc.maxSafeNat())

describe('arrays of numbers', () => {
  it('are read as JSON.parse reads them, cut anywhere', () => {
    const property = fc.property(arrayOf(whole, 8), fc.integer({ min: 1, max: 5 }), (text, batch) => {
      for (const cuts of waysToCut(text)) {
        expect(numbersOf(text, cuts, batch)).toEqual({
          numbers: JSON.parse(text),
          end: Buffer.byteLength(text),
        })
      }
    })
    fc.assert(property, seeded(60))
  })

  it('of some length are, too, and tell where each batch ends', () => {
    const property = fc.property(
      fc.array(whole, { minLength: 200, maxLength: 400 }),
      fc.nat(2000),
      (numbers, cut) => {
        const text = JSON.stringify(numbers).replaceAll(/((?:\d+,){6}\d+),/g, '$1\n,')
        const seen: number[] = []
        const array = new NumberArray(7, (values, count, next) => {
          // The rest of the text begins at `next`.
          const rest = `[${text.slice(next)}`
          seen.push(...values.subarray(0, count))
          if (seen.length < numbers.length) expect(JSON.parse(rest)).toEqual(numbers.slice(seen.length))
        })
        feed(array, text, [Math.min(cut + 1, text.length - 1)])
        expect(seen).toEqual(numbers)
      },
    )
    fc.assert(property, seeded(30))
  })

  const filler = '1,'.repeat(30)
  it.each([
    '[1,,2]',
    '[,1]',
    '[1 2]',
    '[1,]',
    '[01]',
    '[-1]',
    '[1.5]',
    '[1e3]',
    '["1"]',
    '{}',
    '[9007199254740993]',
    '[1,}',
  ])('%s is refused at its byte, in a short and in a long chunk', (text) => {
    for (const long of [text, text.replace('[', `[${filler}`).replace(/\]$/, `,${filler}1]`)]) {
      for (const cuts of [[], waysToCut(long).at(-1) ?? []]) {
        expect(() => numbersOf(long, cuts, 4)).toThrow(Malformed)
      }
    }
  })
})

describe('arrays of strings', () => {
  // With everything that JSON escapes: quotes, backslashes, control characters, and paired and
  // unpaired surrogates.
  const unit = fc.oneof(
    fc.constantFrom('"', '\\', '\n', '\u0000', '\ud800', '\udc00', '😀', 'é', '/'),
    fc.string(),
  )
  const texts = fc.array(unit, { maxLength: 3 }).map((parts) => parts.join(''))
  const literal = fc.tuple(texts, fc.boolean()).map(([text, ascii]) => {
    const json = JSON.stringify(text)
    // V8 escapes every character that is not ASCII.
    const escaped = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`
    return ascii ? json.replaceAll(/[^\x20-\x7e]/g, escaped) : json
  })

  it('are read as JSON.parse reads them, cut anywhere', () => {
    const property = fc.property(arrayOf(literal, 4), (text) => {
      for (const cuts of waysToCut(text)) {
        expect(stringsOf(text, cuts)).toEqual({ strings: JSON.parse(text), end: Buffer.byteLength(text) })
      }
    })
    fc.assert(property, seeded(40))
  })

  it.each(['["a" "b"]', '["a",,"b"]', '[1]', '["a\nb"]', '["a"}', '{}', '["\\x"]', '["\\u12"]'])(
    '%j is refused',
    (text) => {
      for (const cuts of waysToCut(text)) expect(() => stringsOf(text, cuts)).toThrow(Malformed)
    },
  )

  it('a beginning of one is cut between characters', () => {
    const property = fc.property(literal, fc.nat(40), (text, maxBytes) => {
      const whole = JSON.parse(text) as string
      const bytes = Buffer.from(text)
      const string = { bytes, start: 1, end: bytes.length - 1, whole: true, offset: 0 }
      const begun = decodeString(string, maxBytes)
      expect(whole.startsWith(begun)).toBe(true)
    })
    fc.assert(property, seeded(300))
  })
})

describe('the outermost object', () => {
  it('hands out each member, and skips what nobody reads, cut anywhere', () => {
    const property = fc.property(fc.json({ maxDepth: 3 }), fc.json({ maxDepth: 2 }), (skipped, kept) => {
      const text = ` {"a":${skipped}, "k\\u0065pt":${kept},\n"b" : [] } `
      for (const cuts of waysToCut(text)) {
        let value: AnyValue | undefined
        const keys: string[] = []
        const object = new JsonObject((key) => {
          keys.push(key)
          const part = new AnyValue(key === 'kept' ? 1e6 : 0)
          if (key === 'kept') value = part
          return part
        })
        for (const { bytes, offset } of chunksOf(text, cuts)) object.scan(bytes, offset)
        object.end(Buffer.byteLength(text))
        expect(keys).toEqual(['a', 'kept', 'b'])
        expect(JSON.parse(value?.text ?? '')).toEqual(JSON.parse(kept))
      }
    })
    fc.assert(property, seeded(40))
  })

  it.each(['{"a":1,"a":2}', '{"a":1}}', '{"a":1}x', '{"a" 1}', '{,}', `{"${'k'.repeat(300)}":1}`])(
    '%s is refused',
    (text) => {
      const read = (): void => {
        const object = new JsonObject(() => new AnyValue())
        object.scan(Buffer.from(text), 0)
        object.end(text.length)
      }
      expect(read).toThrow(Malformed)
    },
  )
})
