/** All facts about the selected frame, next to the charts or below them. */

import { formatBytes } from '../../base/units.js'
import { factsOf, kindOf } from './describe.js'
import { button, element, quoted } from './dom.js'
import type { Frame } from './frames.js'
import { formatShort } from './times.js'

export class Details {
  readonly root: HTMLElement
  readonly #head: HTMLElement
  readonly #body: HTMLElement
  readonly #toggle: HTMLButtonElement

  constructor(step: (by: number) => void) {
    this.#head = element('div', { class: 'details-head' })
    this.#body = element('div', { class: 'details-body', id: 'details-body' })
    this.#toggle = button('▴', 'Show all details of the selected frame', () => {
      const isOpen = this.root.classList.toggle('open')
      this.#toggle.setAttribute('aria-expanded', String(isOpen))
    })
    this.#toggle.classList.add('toggle')
    this.#toggle.setAttribute('aria-expanded', 'false')
    this.#toggle.setAttribute('aria-controls', 'details-body')
    this.root = element(
      'aside',
      { class: 'details panel', 'aria-label': 'Selected frame' },
      element(
        'div',
        { class: 'details-bar' },
        this.#head,
        element(
          'div',
          { class: 'buttons' },
          button('‹', 'Previous frame', () => step(-1)),
          button('›', 'Next frame', () => step(1)),
          this.#toggle,
        ),
      ),
      this.#body,
    )
  }

  show(frame: Frame): void {
    this.#head.replaceChildren(
      element('h2', {}, quoted(frame.name)),
      element(
        'p',
        { class: 'remark brief' },
        `${formatShort(frame.at)} · ${kindOf(frame)} · ${formatBytes(frame.fileSize)}`,
      ),
    )
    this.#body.replaceChildren(...describe(frame))
  }
}

function* describe(frame: Frame): Generator<HTMLElement> {
  if (frame.damage !== undefined) {
    yield element('p', { class: 'damage-note' }, element('strong', {}, 'Cannot be restored. '), frame.damage)
  } else if (frame.damagedParent !== undefined) {
    const name = quoted(frame.damagedParent.name)
    yield element('p', { class: 'damage-note' }, 'It builds on ', name, ', which is damaged.')
  }
  if (frame.keptBecause.length > 0) {
    const chips = frame.keptBecause.map((reason) => element('li', {}, reason))
    yield element('ul', { class: 'chips', 'aria-label': 'Kept because' }, ...chips)
  }
  const rows = factsOf(frame).map(([label, text]) =>
    element(
      'div',
      {},
      element('dt', {}, label),
      element('dd', { class: label === 'Id' && 'code' }, quoted(text)),
    ),
  )
  yield element('dl', {}, ...rows)
}
