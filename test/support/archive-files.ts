/** Stray files in the directory of an archive. */

import { readdirSync } from 'node:fs'

/**
 * Names of files that belong to no frame. Call it while a writer has the archive open and no
 * capture is running.
 */
export function strayFilesOf(directory: string): string[] {
  const names = readdirSync(directory)
  return names.filter((name) => {
    if (name === 'archive.json' || name === 'writer.lock') return false
    const [, number] = /^(\d{10})\.(?:sf|state|json)$/.exec(name) ?? []
    return !['sf', 'json'].every((extension) => names.includes(`${number}.${extension}`))
  })
}
