/**
 * Makes text that may come from a hostile file safe to show: characters that a terminal would obey
 * (control characters) or that would mislead the eye (invisible ones, and those that change the
 * direction of text) become escapes.
 */

const unsafe = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu

/** Escapes as in JSON and JavaScript: `\u001b`; characters beyond U+FFFF become two escapes. */
export function printable(text: string): string {
  return text.replace(unsafe, escaped)
}

/** Like {@link printable}, for text of several lines; JSON remains the same document. */
export function printableLines(text: string): string {
  return text.replace(unsafe, (character) => (character === '\n' ? character : escaped(character)))
}

function escaped(character: string): string {
  return Array.from({ length: character.length }, (_, index) => {
    return `\\u${character.charCodeAt(index).toString(16).padStart(4, '0')}`
  }).join('')
}
