// Promise I9: files of every format version that was ever written can be read, byte for byte.
// Proved on golden files, one per version and option, made once by scripts/make-golden.mjs and
// compared with their known contents. The reader that was written from docs/FORMAT.md alone must
// also find every checksum valid.

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync } from 'node:zlib'
import { inspect, restore, verify } from 'stillframe'
import { describe, expect, it } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { golden } from './golden/contents.mjs'

const reader = fileURLToPath(new URL('../../scripts/dump-image.mjs', import.meta.url))
const files = fileURLToPath(new URL('golden/', import.meta.url))
const inDirectory = useTemporaryDirectory()

interface Golden {
  version: { major: number; minor: number }
  layout: string
  parent?: string
  sections: Record<string, Uint8Array>
  metadata: unknown
}
const entries: [string, Golden][] = Object.entries(golden)

/** A golden file and all of its ancestors, down to the full one. */
function chainOf(name: string): [string, Golden][] {
  const [entry] = entries.filter(([other]) => other === name)
  if (entry === undefined) throw new Error(`there is no golden file ${name}`)
  const { parent } = entry[1]
  return [entry, ...(parent === undefined ? [] : chainOf(parent))]
}

/**
 * Unpacks a file and all of its ancestors into one directory. Returns their paths in this order.
 */
function unpack(name: string): [path: string, ...parents: string[]] {
  const paths = chainOf(name).map(([file]) => {
    const path = inDirectory(file)
    writeFileSync(path, gunzipSync(readFileSync(join(files, `${file}.sf.gz`))))
    return path
  })
  return paths as [string, ...string[]]
}

it('there is a golden file for each entry, and an entry for each file', () => {
  const names = readdirSync(files).flatMap((name) => (name.endsWith('.sf.gz') ? [name.slice(0, -6)] : []))
  expect(names.sort()).toEqual(Object.keys(golden).sort())
})

describe.each(entries)('the golden file %s', (name, { version, layout, parent, sections, metadata }) => {
  it('is whole and says what it is', async () => {
    const [path, parentPath] = unpack(name)
    expect(await verify(path)).toMatchObject({ ok: true, problems: [] })
    const info = await inspect(path)
    expect(info).toMatchObject({ version, layout, metadata })
    expect(info.sections.map((section) => [section.name, section.byteLength])).toEqual(
      Object.entries(sections).map(([section, bytes]) => [section, bytes.length]),
    )
    expect(parentPath === undefined).toBe(parent === undefined)
    expect(info.parentId).toBe(parentPath && (await inspect(parentPath)).id)
  })

  it('has all checksums in order, by the reader that was written from the document', () => {
    const { status, stdout } = spawnSync(process.execPath, [reader, ...unpack(name)], { encoding: 'utf8' })
    expect(stdout.trimEnd().split('\n').at(-1)).toBe('all checksums hold')
    expect(status).toBe(0)
  })

  // A delta on a flat file is mapped too: the full file, with newer pages in place.
  const modes = chainOf(name).at(-1)?.[1].layout === 'flat' ? (['map', 'copy'] as const) : (['copy'] as const)
  it.each(modes)("is restored with mode '%s', byte for byte", async (mode) => {
    using restored = await restore(unpack(name)[0], { mode })
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
    await restore(unpack(name)[0], { into })
    for (const [section, bytes] of Object.entries(sections)) {
      expect(Buffer.compare(Buffer.from(into[section] as ArrayBuffer), bytes), section).toBe(0)
    }
  })
})
