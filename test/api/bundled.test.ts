/**
 * Promise: bundling the code without the addons is detected: the import works, and the first use
 * says what to do, whatever the module format. Proved by bundling a program and running it.
 */

import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'rolldown'
import { beforeAll, describe, expect, test } from 'vitest'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const addons = {
  STILLFRAME_ADDON: process.env['STILLFRAME_ADDON'] ?? join(root, 'build/Release/stillframe.node'),
  STILLFRAME_HEAP_ADDON:
    process.env['STILLFRAME_HEAP_ADDON'] ?? join(root, 'build/Release/stillframe_heap.node'),
}
const directory = sharedTemporaryDirectory()

beforeAll(() => {
  // The bundle is inside a project with another name, as it would be in practice.
  writeFileSync(join(directory, 'package.json'), '{ "name": "service" }')
  writeFileSync(
    join(directory, 'service.mjs'),
    `import { Region } from '${root}lib/index.ts'
     import { writeHeapSnapshot } from '${root}lib/heap/index.ts'
     const outcomeOf = (use) => {
       try {
         use()
         return 'works'
       } catch (error) {
         return [error.name, error.code, error.message].join(' ')
       }
     }
     console.log(JSON.stringify([
       outcomeOf(() => Region.allocate(4096)),
       outcomeOf(() => writeHeapSnapshot('bundled.heapsnapshot').abort()),
     ]))`,
  )
})

describe.each([
  ['ES module', 'esm', 'mjs', {}],
  ['CommonJS', 'cjs', 'cjs', {}],
  // esbuild's output replaces import.meta.url like this.
  ['CommonJS without import.meta.url', 'cjs', 'cjs', { 'import.meta.url': 'undefined' }],
] as const)('bundled to %s', (name, format, extension, define) => {
  const file = (): string => join(directory, `out/${name.replaceAll(' ', '-')}.${extension}`)

  beforeAll(() =>
    build({
      input: join(directory, 'service.mjs'),
      platform: 'node',
      transform: { define },
      output: { file: file(), format },
      logLevel: 'silent',
    }),
  )

  function run(env: object): [memory: string, heap: string] {
    const { status, stdout, stderr } = spawnSync(process.execPath, [file()], {
      cwd: directory,
      encoding: 'utf8',
      env: { ...process.env, STILLFRAME_ADDON: '', STILLFRAME_HEAP_ADDON: '', ...env },
    })
    expect(status, stderr).toBe(0)
    return JSON.parse(stdout)
  }

  test('says on first use that it must be left out of the bundle, and how', () => {
    for (const outcome of run({})) {
      expect(outcome).toMatch(/^StillframeError ERR_STILLFRAME_ABI /)
      expect(outcome).toContain('bundled')
      expect(outcome).toContain('--external:stillframe')
      // The advice must not be to build this project.
      expect(outcome).not.toContain('node-gyp')
    }
  })

  test('works with addons that are named', () => {
    expect(run(addons)).toEqual(['works', 'works'])
  })
})
