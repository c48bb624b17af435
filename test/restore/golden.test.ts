// Promise I9: files of every format version that was ever written can be read, byte for byte. Proved on golden
// files, one a version and option, made once by scripts/make-golden.mjs and compared with what they must hold.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { inspect, restore, verify } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { golden } from './golden/contents.mjs'

const files = fileURLToPath(new URL('golden/', import.meta.url))
const inDirectory = useTemporaryDirectory()

function unpack(name: string): string {
  const path = inDirectory(name)
  writeFileSync(path, gunzipSync(readFileSync(join(files, `${name}.sf.gz`))))
  return path
}

it('there is a golden file for each entry, and an entry for each file', () => {
  const names = readdirSync(files).flatMap((name) => (name.endsWith('.sf.gz') ? [name.slice(0, -6)] : []))
  expect(names.sort()).toEqual(Object.keys(golden).sort())
})

describe.each(Object.entries(golden))(
  'the golden file %s',
  (name, { version, layout, sections, metadata }) => {
    it('is whole and says what it is', async () => {
      const path = unpack(name)
      expect(await verify(path)).toMatchObject({ ok: true, problems: [] })
      const info = await inspect(path)
      expect(info).toMatchObject({ version, layout, metadata })
      expect(info.sections.map((section) => [section.name, section.byteLength])).toEqual(
        Object.entries(sections).map(([section, bytes]) => [section, bytes.length]),
      )
    })

    const modes = layout === 'packed' ? (['copy'] as const) : (['map', 'copy'] as const)
    it.each(modes)("is restored with mode '%s', byte for byte", async (mode) => {
      using restored = await restore(unpack(name), { mode })
      expect(restored.metadata).toEqual(metadata)
      expect(Object.keys(restored.regions)).toEqual(Object.keys(sections))
      for (const [section, bytes] of Object.entries(sections)) {
        const found = restored.regions[section]
        expect(Buffer.compare(Buffer.from(found?.buffer ?? new ArrayBuffer(1)), bytes), section).toBe(0)
      }
    })

    it('is restored into existing memory, byte for byte', async () => {
      const into = Object.fromEntries(
        Object.entries(sections).map(([section, bytes]) => [section, new ArrayBuffer(bytes.length)]),
      )
      await restore(unpack(name), { into })
      for (const [section, bytes] of Object.entries(sections)) {
        expect(Buffer.compare(Buffer.from(into[section] as ArrayBuffer), bytes), section).toBe(0)
      }
    })
  },
)
