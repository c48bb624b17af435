/** Text of others, on its way into a page. */

import { printable } from '../base/printable.js'

/** The longest text that a page has use for: a name of 10 kB is none. */
const longest = 160

/** At most so many characters, all of them visible. */
export function shown(text: string, length = longest): string {
  // Cut twice: characters that are made visible grow, and a long text need not be read to its end.
  const start = Array.from(text.slice(0, 2 * length)).slice(0, length)
  const visible = printable(start.join(''))
  return visible.length < text.length || visible.length > length
    ? `${visible.slice(0, length - 1)}…`
    : visible
}

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  "'": '&#39;',
}

/** For the text of an element and the value of an attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '')
}

/** JSON for the inside of a script element: no text in it ends the element or begins a comment. */
export function jsonForScript(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
