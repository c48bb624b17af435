/** Prepares foreign text for a page. */

import { printable } from '../base/printable.js'

/** Maximum length of a text in a page. Longer text, such as a name of 10 kB, is useless there. */
const longest = 160

/** At most `length` characters, all of them visible. */
export function shown(text: string, length = longest): string {
  // Cut twice: escaping makes characters longer, and a long text need not be processed to its end.
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

/** Escapes text for the content of an element or the value of an attribute. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? '')
}

/**
 * JSON for the inside of a script element: no text in it can end the element or begin a comment.
 */
export function jsonForScript(value: unknown): string {
  return JSON.stringify(value).replace(
    /[<>&\u2028\u2029]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
