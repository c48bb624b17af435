#!/usr/bin/env node
// Follows every relative link in the Markdown and HTML files of a directory or a package, to files
// and to headings:
//
//   node scripts/check-links.mjs TARBALL      the output of npm pack
//   node scripts/check-links.mjs DIRECTORY    a checkout, or the site that `npm run docs` made

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
/** For each document that was linked to, the names of the places in it. */
const known = new Map()
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
    linksOf(path.join(root, document))
      .filter((link) => !leadsSomewhere(path.join(root, document), link))
      .map((link) => `${document}: ${link}`),
  )
}

function documentsBelow(root) {
  const skipped = /^(node_modules|build.*|dist|prebuilds|site|source|bench\/results)$/
  const entries = readdirSync(root, { withFileTypes: true }).filter(({ name }) => !skipped.test(name))
  return entries.flatMap((entry) => {
    if (!entry.isDirectory()) return /\.(md|html)$/.test(entry.name) ? [entry.name] : []
    return documentsBelow(path.join(root, entry.name)).map((name) => path.join(entry.name, name))
  })
}

/** The text without the contents of fences and code, which may look like links. */
function textOf(document) {
  return readFileSync(document, 'utf8')
    .replace(/^ *```.*?^ *```$/gms, '')
    .replace(/`[^`\n]*`/g, (code) => code.replaceAll('](', '] ('))
}

function linksOf(document) {
  const links = document.endsWith('.html')
    ? readFileSync(document, 'utf8').matchAll(/<(?:a|img|link|script) [^>]*?(?:href|src)="([^"]+)"/g)
    : textOf(document).matchAll(/\]\(([^)\s]+)\)/g)
  return [...links].map(([, link]) => link).filter((link) => !/^[a-z]+:/.test(link))
}

function leadsSomewhere(document, link) {
  const [file, place] = link.split('#')
  const target = file === '' ? document : path.resolve(path.dirname(document), decodeURIComponent(file))
  if (!existsSync(target)) return false
  return !place || placesIn(target).has(decodeURIComponent(place))
}

/**
 * The names that links to a document may use. Each document is read only once, since in a site
 * every page links to every other.
 */
function placesIn(document) {
  const places =
    known.get(document) ?? new Set(document.endsWith('.html') ? idsOf(document) : headingsOf(document))
  known.set(document, places)
  return places
}

function idsOf(document) {
  return [...readFileSync(document, 'utf8').matchAll(/ id="([^"]+)"/g)].map(([, id]) => id)
}

/** The names that GitHub derives from headings. */
function headingsOf(document) {
  return [...textOf(document).matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}
