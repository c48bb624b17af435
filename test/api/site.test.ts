/**
 * Promise: the site that `npm run docs` builds contains every document and every export, its search
 * finds them, and a dead link fails the build. Proved by building it with the repository's
 * settings, and once more with a dead link in a document.
 */

import { spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { inflateSync } from 'node:zlib'
import { expect, test } from 'vitest'
import * as main from '../../lib/index.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const { docs } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts as { docs: string }
const inDirectory = useTemporaryDirectory()

/** Runs the steps of `npm run docs` with another output directory. Types are checked elsewhere. */
function build(...options: string[]): { status: number | null; output: string } {
  const site = inDirectory('site')
  const [typedoc, check] = docs.split(' && ')
  const command = `node_modules/.bin/${typedoc} --skipErrorChecking --out "${site}" ${options.join(' ')} && ${check?.replace(/site$/, `"${site}"`)}`
  const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { cwd: root, encoding: 'utf8' })
  return { status, output: stdout + stderr }
}

function searchRows(): { name: string; url: string }[] {
  const [, packed = ''] = /"([^"]+)"/.exec(readFileSync(inDirectory('site/assets/search.js'), 'utf8')) ?? []
  return JSON.parse(inflateSync(Buffer.from(packed, 'base64')).toString()).rows
}

test('it has every document and every export', () => {
  expect(build()).toMatchObject({ status: 0 })
  const rows = searchRows()
  const documents = readdirSync(join(root, 'docs')).filter((name) => name.endsWith('.md'))
  for (const name of documents)
    expect(rows.map(({ url }) => url)).toContain(`documents/docs_${name.replace(/md$/, 'html')}`)
  expect(rows.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      ...Object.keys(main),
      'snapshotState',
      'writeHeapSnapshot',
      'registerMetrics',
      'Restore modes',
    ]),
  )
})

test.each(['gone.md', 'there.md#gone'])('it is not built with a link to %s', (link) => {
  writeFileSync(inDirectory('there.md'), '# There\n')
  writeFileSync(inDirectory('here.md'), `# Here\n\n[gone](${link})\n`)
  const options = inDirectory('options.json')
  const entryPoints = [join(root, 'lib/heap/signal.ts')]
  const projectDocuments = [inDirectory('*.md')]
  const small = { entryPoints, projectDocuments, readme: 'none', intentionallyNotExported: [] }
  writeFileSync(options, JSON.stringify({ extends: [join(root, 'typedoc.json')], ...small }))
  const { status, output } = build(`--options "${options}"`)
  expect(output).toContain('gone')
  expect(status).not.toBe(0)
})
