/**
 * The page of a report: one HTML file that loads nothing. Without scripts it shows the key figures,
 * the damage and a table; its own script draws the rest. A policy in the page limits what it may
 * do: only this script and this style sheet, identified by their hashes, and no network access.
 */

import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { packageRoot } from '../addon/package-root.js'
import { count, formatBytes, formatMs } from '../base/units.js'
import { causesOf, type DamageCause } from './damage.js'
import type { ReportData, ReportFrame } from './data.js'
import { encodeForPage } from './encode.js'
import { formatInstant, type KeyFigure, keyFigures, verdictOf } from './summary.js'
import { escapeHtml, jsonForScript, shown } from './text.js'

/** Maximum rows of the table for readers without scripts; with scripts the table has all rows. */
const rowsWithoutScript = 50
/** Maximum number of damaged frames named at the top. */
const damageNamed = 12

/** The script and the style sheet that are embedded in every page. */
export interface PageParts {
  script: string
  style: string
}

/** Reads the parts that `npm run build:ts` makes. */
export function builtPageParts(): PageParts {
  const read = (name: string): string => readFileSync(join(packageRoot(), 'dist', 'report', name), 'utf8')
  return { script: read('client.js'), style: read('client.css') }
}

/** Renders the complete page. */
export function renderPage(data: ReportData, { script, style }: PageParts = builtPageParts()): string {
  const policy = [
    "default-src 'none'",
    `script-src '${hashOf(script)}'`,
    `style-src '${hashOf(style)}'`,
    // For the embedded icon.
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
  ].join('; ')
  const name = shown(basename(data.place) || data.place, 80)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(name)} · stillframe report</title>
<link rel="icon" href="data:image/svg+xml,${encodeURIComponent(icon)}">
<style>${style}</style>
</head>
<body>
${header(data, name)}
<main>
${figures(keyFigures(data))}
${damage(data.frames)}
<div id="app" class="app"></div>
<noscript>
<p class="remark">The charts need this page's own script.</p>
${table(data.frames)}
</noscript>
${remarks(data)}
</main>
<script type="application/json" id="data">${jsonForScript(encodeForPage(data))}</script>
<script>${script}</script>
</body>
</html>
`
}

/** Shows overlapping frames. */
const icon =
  '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><path d="M5 2h9v9" fill="none" stroke="#8b93a7" stroke-width="1.6"/><rect x="2" y="5" width="9" height="9" rx="1" fill="#3f5bd8"/></svg>'

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

const kinds: Readonly<Record<ReportData['kind'], string>> = {
  archive: 'Archive',
  directory: 'Directory of snapshots',
  chain: 'Snapshot and what it builds on',
}

function header(data: ReportData, name: string): string {
  const { good, title, text } = verdictOf(data)
  return `<header>
<p class="overline">stillframe report <span aria-hidden="true">·</span> ${kinds[data.kind]}</p>
<h1><bdi>${escapeHtml(name)}</bdi></h1>
<p class="place"><bdi>${escapeHtml(shown(data.place))}</bdi></p>
<div class="verdict ${good ? 'good' : 'bad'}" role="status">
<span class="mark" aria-hidden="true">${good ? '✓' : '✕'}</span>
<p><strong>${escapeHtml(title)}</strong> <span>${escapeHtml(text)}</span></p>
</div>
</header>`
}

function figures(all: readonly KeyFigure[]): string {
  const one = ({ label, value, remark }: KeyFigure): string =>
    `<div><dt>${escapeHtml(label)}</dt><dd>${escapeHtml(value)}</dd><dd class="remark">${escapeHtml(remark)}</dd></div>`
  return `<dl class="figures">${all.map(one).join('')}</dl>`
}

function damage(frames: readonly ReportFrame[]): string {
  const causes = causesOf(frames).reverse()
  if (causes.length === 0) return ''
  const more = causes.length - damageNamed
  return `<section class="panel damage" aria-labelledby="damage-title">
<h2 id="damage-title">Damage</h2>
<p class="remark">Frames that cannot be restored, and why.</p>
<ul>
${causes.slice(0, damageNamed).map(describeCause).join('\n')}
${more > 0 ? `<li>and ${count(more, 'older one')}: the table lists all of them.</li>` : ''}
</ul>
</section>`
}

function describeCause({ frame, lost }: DamageCause): string {
  const { name, damage: reason = '', frozenAt } = frame
  const [first, last] = [lost.at(0), lost.at(-1)]
  const range = [first, last === first ? undefined : last]
    .flatMap((one) => (one === undefined ? [] : [`<bdi>${escapeHtml(shown(one.name, 80))}</bdi>`]))
    .join(' – ')
  const others =
    lost.length === 0
      ? ''
      : `<br><span class="remark">Lost with it: ${count(lost.length, 'frame')} built on it, ${range}</span>`
  return `<li><strong><bdi>${escapeHtml(shown(name, 80))}</bdi></strong> <span class="remark">${formatInstant(frozenAt)}</span><br>${escapeHtml(shown(reason, 400))}${others}</li>`
}

function table(frames: readonly ReportFrame[]): string {
  const newest = frames.slice(-rowsWithoutScript).reverse()
  const left = frames.length - newest.length
  const row = (frame: ReportFrame): string =>
    `<tr><th scope="row"><bdi>${escapeHtml(shown(frame.name, 80))}</bdi><td>${formatInstant(frame.frozenAt)}<td>${frame.kind}<td>${formatBytes(frame.fileSize)}<td>${frame.pauseMs === undefined ? '–' : `${formatMs(frame.pauseMs)} ms`}<td>${frame.damage === undefined ? 'whole' : 'damaged'}`
  return `<div class="scroll"><table>
<caption>${left === 0 ? 'All frames' : `The newest ${newest.length} of ${frames.length} frames`}, the newest first</caption>
<thead><tr><th scope="col">Frame<th scope="col">Frozen at<th scope="col">Kind<th scope="col">File<th scope="col">Pause<th scope="col">State</thead>
<tbody>
${newest.map(row).join('\n')}
</tbody>
</table></div>`
}

function remarks({ remarks: sentences, madeAt }: ReportData): string {
  const all = [...sentences, `Created at ${formatInstant(madeAt)}. All times are UTC.`]
  return `<footer>${all.map((sentence) => `<p>${escapeHtml(shown(sentence, 400))}</p>`).join('\n')}</footer>`
}
