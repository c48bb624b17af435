#!/usr/bin/env node
// Writes the missing golden files of values: one for each entry of test/heap/golden/contents.mjs,
// as test/heap/golden/NAME.values.gz.
//
//   npm run build && node scripts/make-golden-values.mjs
//
// Run it with the oldest supported version of Node: newer versions read the files of older ones,
// but not vice versa. An existing file is never written again, since its purpose is that every
// later release reads it.

import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import { snapshotState } from '../dist/heap/index.js'
import { golden } from '../test/heap/golden/contents.mjs'

const directory = fileURLToPath(new URL('../test/heap/golden/', import.meta.url))
const scratch = mkdtempSync(path.join(os.tmpdir(), 'stillframe-golden-'))
try {
  for (const [name, values] of Object.entries(golden)) {
    const target = path.join(directory, `${name}.values.gz`)
    if (existsSync(target)) {
      console.log(`${name}: exists, left as it is`)
      continue
    }
    const file = path.join(scratch, name)
    await snapshotState(file, (out) => {
      for (const value of values) out.value(value)
    }).done
    writeFileSync(target, gzipSync(readFileSync(file), { level: 9 }))
    console.log(`${name}: written`)
  }
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
