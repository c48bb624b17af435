#!/usr/bin/env node
// Writes the missing golden files: one for each entry of test/restore/golden/contents.mjs, as
// test/restore/golden/NAME.sf.gz (compressed, since git stores holes in full).
//
//   npm run build && node scripts/make-golden.mjs
//
// An entry with a `parent` becomes a delta on the golden file of that name, which precedes it.
//
// An existing file is never written again, since its purpose is that every later release reads it.
// When the format gets a version or an option, add an entry to contents.mjs, run this with the
// release that introduces it, and commit the new files.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gunzipSync, gzipSync } from 'node:zlib'
import { inspect, Region, snapshot } from '../dist/index.js'
import { golden } from '../test/restore/golden/contents.mjs'

const directory = fileURLToPath(new URL('../test/restore/golden/', import.meta.url))
const scratch = mkdtempSync(path.join(os.tmpdir(), 'stillframe-golden-'))
try {
  for (const [name, { version, layout, compression, parent, sections, metadata }] of Object.entries(golden)) {
    const target = path.join(directory, `${name}.sf.gz`)
    const file = path.join(scratch, name)
    if (existsSync(target)) {
      console.log(`${name}: exists, left as it is`)
      writeFileSync(file, gunzipSync(readFileSync(target)))
      continue
    }
    const sources = Object.fromEntries(
      Object.entries(sections).map(([section, bytes]) => {
        const region = Region.allocate(bytes.length)
        new Uint8Array(region.buffer).set(bytes)
        return [section, region]
      }),
    )
    await snapshot(sources, file, { metadata, compression, parent: parent && path.join(scratch, parent) })
      .done
    const found = await inspect(file)
    if (JSON.stringify(found.version) !== JSON.stringify(version) || found.layout !== layout) {
      throw new Error(`${name}: this release writes ${found.layout} ${JSON.stringify(found.version)}`)
    }
    const packed = gzipSync(readFileSync(file), { level: 9 })
    writeFileSync(target, packed)
    console.log(`${name}: ${packed.length} bytes`)
  }
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
