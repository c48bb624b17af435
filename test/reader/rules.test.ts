/**
 * Promise: violations that are visible only in names and pages are found by the reader without an
 * addon as by the native one. Proved with hand-made files, one per rule, with valid checksums, for
 * which both must give the same verdict.
 */

import { snapshot } from 'stillframe'
import { beforeEach, expect, test } from 'vitest'
import { EditableImage, entry } from '../support/image-editor.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { expectSameVerdict } from './verdicts.js'

const inDirectory = useTemporaryDirectory()
const flat = (): string => inDirectory('flat')
const packed = (): string => inDirectory('packed')

beforeEach(async () => {
  await snapshot({ main1: new Uint8Array(5000).fill(3), main2: Uint8Array.of(7) }, flat()).done
  // A delta stores its pages uncompressed, and has only a few.
  const noise = new Uint8Array(9000).map((_, i) => (i * 2_654_435_761) >>> (i % 13))
  await snapshot({ main1: noise, main2: Uint8Array.of(7) }, packed(), { parent: flat() }).done
})

/** Changes bytes of a block, and updates the checksum of the block. */
function setByte(image: EditableImage, index: number, at: number, ...values: number[]): void {
  const start = Number(image.entryField(index, entry.fileOffset))
  image.bytes.set(values, start + at)
  image.sealEntry(index)
}

const rules: [string, () => string, RegExp, (image: EditableImage) => void][] = [
  [
    'a name that is not UTF-8',
    flat,
    /is not UTF-8/,
    (image) => image.bytes.fill(0xff, image.namesAt, image.namesAt + 2),
  ],
  [
    'a name with a NUL',
    flat,
    /is not UTF-8/,
    (image) => image.bytes.fill(0, image.namesAt, image.namesAt + 1),
  ],
  [
    'two sections of one name',
    flat,
    /the same name/,
    ({ bytes, namesAt }) => bytes.write('main1main1', namesAt),
  ],
  [
    'bytes behind the end of a section',
    flat,
    /extends beyond the end/,
    (image) => setByte(image, 0, 5000, 1),
  ],
  [
    'bytes behind the end of a packed section',
    packed,
    /extends beyond the end/,
    (image) => setByte(image, 0, 9000, 1),
  ],
  [
    'a stored page of zeros',
    packed,
    /has zero pages that do not match the index/,
    (image) => setByte(image, 0, 4096, ...new Uint8Array(4096)),
  ],
  [
    'a page of zeros',
    flat,
    /has zero pages that do not match the index/,
    (image) => setByte(image, 0, 0, ...new Uint8Array(4096)),
  ],
]

test.each(rules)('%s', async (name, pathOf, reason, arm) => {
  const path = pathOf()
  const image = new EditableImage(path)
  arm(image)
  image.save(path)
  const { verified } = await expectSameVerdict(path, name)
  expect(verified).toMatchObject({ ok: false, problems: [{ reason: expect.stringMatching(reason) }] })
})
