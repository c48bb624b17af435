#!/usr/bin/env node
// Builds the parts of a report's page into dist/report/: its script as one file (client.js), and
// its style sheet (client.css). Both are embedded in the page.
//
//   node scripts/build-report.mjs        part of `npm run build:ts`

import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { rolldown } from 'rolldown'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
const client = path.join(root, 'lib', 'report', 'client')
const target = path.join(root, 'dist', 'report')

const bundle = await rolldown({
  input: path.join(client, 'main.ts'),
  tsconfig: path.join(root, 'tsconfig.client.json'),
  resolve: { extensionAlias: { '.js': ['.ts'] } },
})
const { output } = await bundle.generate({ format: 'iife', minify: true })
const [{ code }] = output
// The code is embedded in a script element.
if (output.length !== 1 || /<\/script|<!--/i.test(code)) throw new Error('the script of the report cannot be inlined')
writeFileSync(path.join(target, 'client.js'), code.trim())

const css = readFileSync(path.join(client, 'style.css'), 'utf8')
  .replace(/\/\*[\s\S]*?\*\//g, '')
  .replace(/\s+/g, ' ')
  .replace(/ ?([{};,>]) ?/g, '$1')
writeFileSync(path.join(target, 'client.css'), css.trim())
