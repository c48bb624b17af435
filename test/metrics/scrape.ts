/** Fetches metrics as Prometheus does: over HTTP, from loopback, in text exposition format. */

import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Register } from 'stillframe/metrics'

/** Result of one scrape. */
export interface Scrape {
  /** Values by name and labels, as `name{a="1",b="2"}`, with the labels sorted by name. */
  readonly samples: Map<string, number>
  /** `counter`, `gauge` or `histogram`, by name. */
  readonly types: Map<string, string>
  readonly helps: Map<string, string>
}

/** Serves a register, requests it once, and parses every line of the response. */
export async function scrape(register: Register): Promise<Scrape> {
  const server = createServer((_request, response) => {
    register.metrics().then(
      (text) => response.setHeader('content-type', register.contentType).end(text),
      (error: unknown) => response.writeHead(500).end(String(error)),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  try {
    const { port } = server.address() as AddressInfo
    const response = await fetch(`http://127.0.0.1:${port}/metrics`, { signal: AbortSignal.timeout(60_000) })
    const text = await response.text()
    if (!response.ok) throw new Error(text)
    return parse(text)
  } finally {
    server.closeAllConnections()
    server.close()
  }
}

function parse(text: string): Scrape {
  const parsed: Scrape = { samples: new Map(), types: new Map(), helps: new Map() }
  for (const line of text.split('\n')) {
    if (line === '' || line === '# EOF') continue
    const [, keyword, described, rest] = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line) ?? []
    if (described !== undefined && rest !== undefined) {
      ;(keyword === 'TYPE' ? parsed.types : parsed.helps).set(described, rest)
      continue
    }
    const [, name, labels = '', value] =
      /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (NaN|[+-]?Inf|[-+.e\d]+)$/.exec(line) ?? []
    if (name === undefined || value === undefined) throw new Error(`no line of exposition text: ${line}`)
    const pairs = [...labels.matchAll(/([a-zA-Z_]\w*)="((?:\\.|[^"\\])*)"(?:,|$)/g)].map(([pair]) => pair)
    if (pairs.join('') !== labels) throw new Error(`no labels: ${labels}`)
    const sorted = pairs.map((pair) => pair.replace(/,$/, '')).toSorted()
    const key = sorted.length === 0 ? name : `${name}{${sorted.join(',')}}`
    if (parsed.samples.has(key)) throw new Error(`twice: ${key}`)
    parsed.samples.set(key, Number(value.replace('Inf', 'Infinity')))
  }
  return parsed
}
