/** A report in which every text under the control of others is an attack. */

import type { ReportData } from '../../lib/report/data.js'
import { sampleReport } from './sample.js'

const attacks = [
  '</script><script>globalThis.harmed = 1</script>',
  '<img src="http://127.0.0.1:9/stolen" onerror="globalThis.harmed = 2">',
  '"><svg onload=globalThis.harmed=3>',
  '<!--<script>',
  "]]>'`; globalThis.harmed = 4 //",
  '\u202egnp.sf\u2066\u200b\u0000\u001b[31m',
  '\u2028\u2029',
  'x'.repeat(10_000),
  '\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea',
  'e\u0301'.repeat(3000),
  '\ud83d\ude00'.repeat(3000),
  '__proto__',
  '\ud800',
]

/** Each text in it is one of {@link attacks}, and its frames form a cycle of parents. */
export function hostileReport(): ReportData {
  const attack = (index: number): string => attacks[index % attacks.length] ?? ''
  const sample = sampleReport(40)
  return {
    ...sample,
    place: `/srv/${attacks.join('')}`,
    frames: sample.frames.map((frame, index) => ({
      ...frame,
      name: attack(index),
      id: index < 20 ? `${attack(index)}${index}` : String(index),
      parentId: index < 20 ? `${attack(index)}${index}` : String(index === 20 ? 39 : index - 1),
      frozenAt: new Date(index === 3 ? 8.64e15 : index === 4 ? -8.64e15 : frame.frozenAt),
      engine: attack(index + 1),
      keptBecause: [attack(index + 2), attack(index + 3)],
      ...(index % 3 === 0 && { damage: attack(index + 4) }),
      sections: Array.from({ length: 100 }, (_, section) => ({
        name: attack(index + section),
        byteLength: 2 ** 47,
      })),
    })),
    heat: { sections: sample.heat.sections.map((section, index) => ({ ...section, name: attack(index) })) },
    remarks: attacks,
  }
}
