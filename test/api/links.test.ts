/**
 * Promise: no link in the documentation is dead, neither in the repository nor in the package,
 * which leaves some files out. Proved by following every link among the files that npm would pack.
 */

import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const root = fileURLToPath(new URL('../..', import.meta.url))
const script = join(root, 'scripts/check-links.mjs')
const inDirectory = useTemporaryDirectory()

function deadLinksIn(place: string): string {
  return spawnSync(process.execPath, [script, place], { encoding: 'utf8' }).stderr
}

test('in the repository', () => {
  expect(deadLinksIn(root)).toBe('')
})

test('in the package', () => {
  const documents = [
    'docs',
    'examples',
    ...readdirSync(root).filter((name) => /\.(md|json)$|^LICENSE$/.test(name)),
  ]
  for (const name of documents) cpSync(join(root, name), inDirectory(`clone/${name}`), { recursive: true })
  // In the repository, npm 10 would run `prepare`, even with --ignore-scripts, and so rebuild dist/
  // while the other tests use it.
  const { scripts: _, ...manifest } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  writeFileSync(inDirectory('clone/package.json'), JSON.stringify(manifest))
  const listed = execFileSync('npm', ['pack', '--dry-run', '--json'], {
    cwd: inDirectory('clone'),
    encoding: 'utf8',
  })
  const [{ files }] = JSON.parse(listed) as [{ files: { path: string }[] }]
  for (const { path } of files) cpSync(inDirectory(`clone/${path}`), inDirectory(`package/${path}`))
  expect(deadLinksIn(inDirectory('package'))).toBe('')
})

test('a dead link is found: to a file, and to a heading', () => {
  writeFileSync(inDirectory('a.md'), '# One, two\n[good](a.md#one-two) [gone](b.md) [gone](#three)\n')
  expect(deadLinksIn(inDirectory())).toBe('dead link: a.md: b.md\ndead link: a.md: #three\n')
})

test('a dead link is found in a page of the site: to a file, and to a place', () => {
  writeFileSync(
    inDirectory('a.html'),
    '<h2 id="one"></h2><a class="x" href="a.html#one"></a><img src="gone.svg"/><a href="#two"></a>',
  )
  expect(deadLinksIn(inDirectory())).toBe('dead link: a.html: gone.svg\ndead link: a.html: #two\n')
})
