#!/usr/bin/env node
// Checks that prose is at most 100 columns wide: comments that have a line to themselves, and the
// Markdown of the documentation.
//
//   node scripts/check-widths.mjs            every file that git knows or would add
//   node scripts/check-widths.mjs FILE...    only these
//
// Exceptions: tables, code blocks, quoted output, words and links that cannot be broken, and
// comments addressed to a tool.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const kColumns = 100

process.chdir(path.dirname(path.dirname(fileURLToPath(import.meta.url))))
const files = process.argv.length > 2 ? process.argv.slice(2) : knownFiles()
const wide = files.flatMap((file) => {
  const lines = readFileSync(file, 'utf8').split('\n')
  return (file.endsWith('.md') ? wideProse(lines) : wideComments(lines, file)).map(
    (number) => `${file}:${number}`,
  )
})
for (const place of wide) console.error(`${place}: more than ${kColumns} columns`)
process.exit(wide.length > 0 ? 1 : 0)

function knownFiles() {
  const { stdout } = spawnSync('git', ['ls-files', '-coz', '--exclude-standard'], { encoding: 'utf8' })
  return stdout
    .split('\0')
    .filter((file) => /(\.(cc|h|ts|mts|cts|js|mjs|cjs|sh|md)|^\.ci\/run)$/.test(file) && existsSync(file))
}

/** The numbers of the lines that should be broken. */
function wideProse(lines) {
  let inCode = false
  return numbersOf(lines, (line) => {
    if (/^\s*```/.test(line)) inCode = !inCode
    return !inCode && !/^\s*(\||```)/.test(line) && canBeBroken(line)
  })
}

function wideComments(lines, file) {
  const comment = file.endsWith('.sh') || file === '.ci/run' ? /^\s*#(?!!)/ : /^\s*(\/\/|\/?\*)/
  return numbersOf(
    lines,
    (line) => comment.test(line) && !/biome-ignore|NOLINT|\|/.test(line) && canBeBroken(line),
  )
}

function numbersOf(lines, isWide) {
  return lines.flatMap((line, index) => (isWide(line) ? [index + 1] : []))
}

/** A link counts as one word, and a line that is one word cannot be broken. */
function canBeBroken(line) {
  if ([...line].length <= kColumns) return false
  const text = line.trim().replace(/^(\/\/|\/?\*+|#+|-|\d+\.)\s+/, '')
  return text.replace(/\[[^\]]*\]\([^)]*\)/g, 'link').includes(' ')
}
