/** Encodes the data of a report in the form that is embedded in the page. */

import type { ReportData, ReportFrame } from './data.js'
import { elsewhere, encodeLevels, levelOf, nameOf, none, type PageData } from './page-data.js'
import { shown } from './text.js'

/** Maximum number of sections named per frame; the rest are counted. */
const sectionsNamed = 20
const reasonsNamed = 12

/** All text in the result is printable and short. */
export function encodeForPage({ place, kind, frames, heat }: ReportData): PageData {
  const texts = new Numbered()
  const sets = new Numbered()
  const indexOf = new Map(frames.flatMap(({ id }, index) => (id === undefined ? [] : [[id, index] as const])))
  const each = <T>(of: (frame: ReportFrame, index: number) => T): T[] => frames.map(of)
  const sectionSet = ({ sections }: ReportFrame): string =>
    JSON.stringify({
      sections: sections
        .slice(0, sectionsNamed)
        .map(({ name, byteLength }) => [texts.indexOf(shown(name)), byteLength]),
      more: Math.max(0, sections.length - sectionsNamed),
    })
  return {
    place: shown(place),
    kind,
    number: each(({ number }) => number),
    name: each(({ name, number }) => (name === nameOf(number) ? '' : shown(name, 80))),
    id: each(({ id = '' }) => shown(id, 40)),
    parent: each(({ parentId }) => (parentId === undefined ? none : (indexOf.get(parentId) ?? elsewhere))),
    isDelta: each((frame) => Number(frame.kind === 'delta')),
    sinceBefore: each(
      ({ frozenAt }, index) => frozenAt.getTime() - (frames[index - 1]?.frozenAt.getTime() ?? 0),
    ),
    byteLength: each((frame) => frame.byteLength ?? null),
    changedBytes: each((frame) => frame.changedBytes ?? null),
    fileSize: each((frame) => frame.fileSize),
    pauseMs: each(({ pauseMs }) => rounded(pauseMs)),
    durationMs: each(({ durationMs }) => rounded(durationMs)),
    engine: each(({ engine }) => (engine === undefined ? none : texts.indexOf(shown(engine, 40)))),
    hasState: each((frame) => Number(frame.hasState)),
    keptBecause: each(({ keptBecause }) =>
      keptBecause.slice(0, reasonsNamed).map((reason) => texts.indexOf(shown(reason, 60))),
    ),
    damage: Object.fromEntries(
      frames.flatMap(({ damage }, index) => (damage === undefined ? [] : [[index, shown(damage, 400)]])),
    ),
    sections: each((frame) => sets.indexOf(sectionSet(frame))),
    sectionSets: sets.texts.map((text) => JSON.parse(text) as PageData['sectionSets'][number]),
    texts: texts.texts,
    heat: heat.sections.map(({ name, byteLength, pieceBytes, columns }) => ({
      name: shown(name),
      byteLength,
      pieceBytes,
      pieces: Math.max(1, Math.ceil(byteLength / pieceBytes)),
      columns: columns.map((shares) => (shares === undefined ? '' : encodeLevels(shares.map(levelOf)))),
    })),
  }
}

/** Rounds to microseconds, the resolution of the clock. */
function rounded(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms * 1000) / 1000
}

/** A list of distinct texts. */
class Numbered {
  readonly texts: string[] = []
  readonly #indexes = new Map<string, number>()

  indexOf(text: string): number {
    const known = this.#indexes.get(text)
    if (known !== undefined) return known
    this.#indexes.set(text, this.texts.length)
    return this.texts.push(text) - 1
  }
}
