/**
 * Parses the triggers of a memory watch from an environment variable:
 * `near-heap-limit,rss:2GiB,cgroup:85%`.
 */

import type { MemoryWatchOptions } from './memory-watch.js'

type Triggers = Pick<
  MemoryWatchOptions,
  'nearHeapLimit' | 'heapUsedBytes' | 'heapUsedPercent' | 'rssBytes' | 'cgroupPercent' | 'pressurePercent'
>

/** For each trigger name, the options that an amount in bytes or in percent sets. */
const names: Record<string, { bytes?: keyof Triggers; percent?: keyof Triggers; example: string }> = {
  heap: { bytes: 'heapUsedBytes', percent: 'heapUsedPercent', example: 'heap:1.5GiB or heap:80%' },
  rss: { bytes: 'rssBytes', example: 'rss:2GiB' },
  cgroup: { percent: 'cgroupPercent', example: 'cgroup:85%' },
  pressure: { percent: 'pressurePercent', example: 'pressure:20%' },
}

const units: Record<string, number> = { '': 1, B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 }
const amount = /^(\d+(?:\.\d+)?)(%|B|[KMGT]iB|)$/

/**
 * @returns the options, and one sentence for each part of the text that cannot be used, with the
 *   reason. `options` is undefined if no part can be used.
 */
export function parseTriggers(text: string): { options: Triggers | undefined; problems: string[] } {
  const options: Triggers = { nearHeapLimit: false }
  const problems: string[] = []
  let count = 0
  for (const part of text.split(',').map((piece) => piece.trim())) {
    if (part === '') continue
    const found = part === 'near-heap-limit' ? ({ nearHeapLimit: true } as const) : parseOne(part)
    if (typeof found === 'string') {
      problems.push(found)
      continue
    }
    Object.assign(options, found)
    count++
  }
  return { options: count > 0 ? options : undefined, problems }
}

function parseOne(part: string): Triggers | string {
  const [name = '', value = ''] = part.split(':', 2)
  const known = Object.hasOwn(names, name) ? names[name] : undefined
  if (known === undefined) {
    return `'${part}' is not one of near-heap-limit, ${Object.keys(names).join(', ')}; it is ignored`
  }
  const [, digits, unit = ''] = amount.exec(value) ?? []
  const key = unit === '%' ? known.percent : known.bytes
  const number = unit === '%' ? Number(digits) : Math.floor(Number(digits) * (units[unit] ?? Number.NaN))
  const fits = unit === '%' ? number > 0 && number <= 100 : number >= 1 && number <= Number.MAX_SAFE_INTEGER
  if (key === undefined || !fits) return `'${part}' is not of the form ${known.example}; it is ignored`
  return { [key]: number }
}
