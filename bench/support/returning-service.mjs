// The service of `archive.mjs`: restores its memory with one of several methods, then answers
// requests with the 32-bit word in the middle of it. Usage: node returning-service.mjs WAY PLACE;
// prints its port when it listens.
//
// Each method loads only what it needs, as a service would.

import { createServer } from 'node:http'
import { join } from 'node:path'
import process from 'node:process'

const [way, place] = process.argv.slice(2)

/** The word in the middle of a region. */
const middleOf = ({ buffer }) => new Uint32Array(buffer, buffer.byteLength / 2, 1)[0]

const fromArchive = async (options) => {
  const { openArchive } = await import('stillframe/archive')
  // Opened for writing, as by a service that continues.
  const archive = await openArchive(join(place, 'frames'))
  const { regions } = await archive.restore(options)
  return () => middleOf(regions.main)
}

const ways = {
  nothing: () => () => 0,
  map: () => fromArchive({ mode: 'map' }),
  'map unverified': () => fromArchive({ mode: 'map', verify: false }),
  copy: () => fromArchive({ mode: 'copy' }),
  async readFile() {
    const { readdir, readFile } = await import('node:fs/promises')
    const pieces = []
    for (const name of (await readdir(join(place, 'pieces'))).sort())
      pieces.push(await readFile(join(place, 'pieces', name)))
    return () => {
      const length = pieces.reduce((sum, piece) => sum + piece.length, 0)
      const piece = pieces[Math.floor(length / 2 / pieces[0].length)]
      return piece.readUInt32LE((length / 2) % pieces[0].length)
    }
  },
}

const word = await ways[way]()
const server = createServer((_request, response) => response.end(String(word())))
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
