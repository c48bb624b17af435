/** Creates elements. Text is always set as text, never as HTML. */

type Child = Node | string | undefined | false

/** Creates an element with attributes and children. */
export function element<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Readonly<Record<string, string | number | boolean | undefined>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[Name] {
  const made = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== false) made.setAttribute(key, value === true ? '' : String(value))
  }
  append(made, ...children)
  return made
}

/** Appends the children, skipping undefined and false. */
export function append(to: Element, ...children: readonly Child[]): void {
  for (const child of children) if (child !== undefined && child !== false) to.append(child)
}

/** Isolates foreign text, so that its writing direction does not affect the text around it. */
export function quoted(text: string): HTMLElement {
  return element('bdi', {}, text)
}

/** A button. `label` is its accessible name and title, for use where `text` is only a symbol. */
export function button(text: string, label: string, onClick: () => void): HTMLButtonElement {
  const made = element('button', { type: 'button', 'aria-label': label, title: label }, text)
  made.addEventListener('click', onClick)
  return made
}
