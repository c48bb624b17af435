/**
 * Promise: the heap addon runs in the version of Node for which it was built and refuses any other
 * with a typed error, while the rest of stillframe works. Proved by loading builds for other
 * versions, if there are any, and a file that is not a heap addon.
 */

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))
const program = fileURLToPath(new URL('abi-program.mjs', import.meta.url))
const major = process.versions.node.split('.')[0]

/**
 * The builds of scripts/test-node-versions.sh (build-aside/node-24 and so on), by major version.
 */
function buildsOfOthers(): [major: string, file: string][] {
  const aside = join(root, 'build-aside')
  if (!existsSync(aside)) return []
  return readdirSync(aside)
    .map((name): [string, string] => [
      /^node-(\d+)/.exec(name)?.[1] ?? '',
      join(aside, name, 'build/Release/stillframe_heap.node'),
    ])
    .filter(([builtFor, file]) => builtFor !== '' && builtFor !== major && existsSync(file))
}

/**
 * Loads the file in a separate process: how V8 reacts to objects of another version of V8 is
 * undefined.
 */
function useIn(file: string) {
  const env = { ...process.env, STILLFRAME_HEAP_ADDON: file }
  const { status, signal, stdout, stderr } = spawnSync(process.execPath, [program], { env, encoding: 'utf8' })
  expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' })
  return JSON.parse(stdout) as { heap: { code?: string; message: string }; restored: string }
}

test('a heap addon built for another version of Node is refused, and stillframe works without it', (context) => {
  const others = buildsOfOthers()
  if (others.length === 0) {
    context.skip('no build for another version of Node is at hand: npm run test:node-versions leaves some')
  }
  for (const [builtFor, file] of others) {
    const { heap, restored } = useIn(file)
    expect(heap.code, `built for ${builtFor}`).toBe('ERR_STILLFRAME_ABI')
    expect(heap.message).toContain(`built for Node ${major}`)
    expect(heap.message).toContain(file)
    expect(restored).toBe('bytes')
  }
})

test('a file that is no heap addon is refused, and stillframe works without it', () => {
  const file = process.env['STILLFRAME_ADDON'] ?? join(root, 'build/Release/stillframe.node')
  const { heap, restored } = useIn(file)
  expect(heap.code).toBe('ERR_STILLFRAME_ABI')
  expect(restored).toBe('bytes')
})
