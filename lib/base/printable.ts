/**
 * Text that may come from a hostile file, for people: what a terminal would obey (control characters) and what would mislead
 * the eye (invisible ones, those that turn the direction of text) becomes an escape.
 */

const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** As in JSON and JavaScript: `\u001b`; characters beyond U+FFFF as two. */
export function printable(text: string): string {
  return text.replace(unsafe, escaped)
}

/** Like {@link printable}, for a text of several lines; also for JSON, which stays the same document. */
export function printableLines(text: string): string {
  return text.replace(unsafe, (character) => (character === '\n' ? character : escaped(character)))
}

function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, index) => {
    return `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`
  }).join('')
}
