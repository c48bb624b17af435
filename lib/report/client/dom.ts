/** Making elements. Text is only ever set as text. */

type Child = Node | string | undefined | false

/** An element with attributes and children. */
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

/** Appends what is not left out. */
export function append(to: Element, ...children: readonly Child[]): void {
  for (const child of children) if (child !== undefined && child !== false) to.append(child)
}

/** Text of others: its direction of writing stays its own. */
export function quoted(text: string): HTMLElement {
  return element('bdi', {}, text)
}

/** A button; `label` is what it is called where `text` is only a sign. */
export function button(text: string, label: string, onClick: () => void): HTMLButtonElement {
  const made = element('button', { type: 'button', 'aria-label': label, title: label }, text)
  made.addEventListener('click', onClick)
  return made
}
