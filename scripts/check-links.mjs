#!/usr/bin/env node
// Follows every relative link in the Markdown files of a packed package, to files and to headings:
//
//   node scripts/check-links.mjs TARBALL      what npm pack made
//   node scripts/check-links.mjs DIRECTORY    a checkout

import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import process from 'node:process'

const [what] = process.argv.slice(2)
if (what === undefined) {
  console.error('check-links: name a tarball or a directory')
  process.exit(2)
}
const unpacked = mkdtempSync(path.join(tmpdir(), 'stillframe-links-'))
let dead
try {
  if (!statSync(what).isDirectory()) execFileSync('tar', ['-xzf', what, '-C', unpacked])
  dead = deadLinks(statSync(what).isDirectory() ? what : path.join(unpacked, 'package'))
} finally {
  rmSync(unpacked, { recursive: true, force: true })
}
for (const link of dead) console.error(`dead link: ${link}`)
process.exit(dead.length > 0 ? 1 : 0)

function deadLinks(root) {
  return documentsBelow(root).flatMap((document) =>
    linksOf(textOf(path.join(root, document)))
      .filter((link) => !leadsSomewhere(path.join(root, document), link))
      .map((link) => `${document}: ${link}`),
  )
}

function documentsBelow(root) {
  const skipped = /^(node_modules|build.*|dist|prebuilds|source|bench\/results)$/
  const entries = readdirSync(root, { withFileTypes: true }).filter(({ name }) => !skipped.test(name))
  return entries.flatMap((entry) => {
    if (!entry.isDirectory()) return entry.name.endsWith('.md') ? [entry.name] : []
    return documentsBelow(path.join(root, entry.name)).map((name) => path.join(entry.name, name))
  })
}

/** Without what stands in fences and in code, which may look like a link. */
function textOf(document) {
  return readFileSync(document, 'utf8')
    .replace(/^ *```.*?^ *```$/gms, '')
    .replace(/`[^`\n]*`/g, (code) => code.replaceAll('](', '] ('))
}

function linksOf(text) {
  return [...text.matchAll(/\]\(([^)\s]+)\)/g)]
    .map(([, link]) => link)
    .filter((link) => !/^[a-z]+:/.test(link))
}

function leadsSomewhere(document, link) {
  const [file, heading] = link.split('#')
  const target = file === '' ? document : path.resolve(path.dirname(document), decodeURIComponent(file))
  if (!existsSync(target)) return false
  return heading === undefined || headingsOf(textOf(target)).includes(heading)
}

/** As GitHub makes the names that lead to them. */
function headingsOf(text) {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
