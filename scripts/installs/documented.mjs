// Extracts what docs/BUNDLERS.md shows, for the scripts that try it.

import { readFileSync } from 'node:fs'

const document = readFileSync(new URL('../../docs/BUNDLERS.md', import.meta.url), 'utf8')

/** The words of the single command in the section of that title. */
export function commandIn(section) {
  const shown = new RegExp(`^### ${section}\\n[^#]*?^\`\`\`sh\\n(.*)\\n\`\`\`$`, 'm').exec(document)
  if (shown === null) throw new Error(`docs/BUNDLERS.md shows no command of ${section}`)
  return shown[1].split(' ')
}

/** The text of the file that is shown under that name. */
export function fileOf(name) {
  const shown = new RegExp(`^\`\`\`js ${name.replaceAll('.', '\\.')}\\n(.*?)^\`\`\`$`, 'ms').exec(document)
  if (shown === null) throw new Error(`docs/BUNDLERS.md shows no ${name}`)
  return shown[1]
}
