/** What lies in the directory of an archive. */

import { readdirSync } from 'node:fs'

/** Names that belong to no frame. To be asked when a writer has opened the archive and nothing is being captured. */
export function strayFilesOf(directory: string): string[] {
  const names = readdirSync(directory)
  return names.filter((name) => {
    if (name === 'archive.json' || name === 'writer.lock') return false
    const [, number] = /^(\d{10})\.(?:sf|state|json)$/.exec(name) ?? []
    return !['sf', 'json'].every((extension) => names.includes(`${number}.${extension}`))
  })
}
