/** A box next to the pointer that describes the hovered frame. */

import { kindOf, sizeOf } from './describe.js'
import { element, quoted } from './dom.js'
import type { Frame } from './frames.js'
import { formatShort } from './times.js'

/** Distance from the pointer to the box, in pixels. */
const gap = 16

export class Tip {
  // Hidden from screen readers: the slider and the details have the same text.
  readonly root = element('div', { class: 'tip', 'aria-hidden': 'true' })

  show(frame: Frame, more: string | undefined, clientX: number, clientY: number): void {
    const lines = [
      element('strong', {}, quoted(frame.name)),
      element('span', {}, `${formatShort(frame.at)} · ${kindOf(frame)}`),
      element('span', {}, sizeOf(frame)),
    ]
    if (more !== undefined) lines.push(element('span', { class: 'more' }, more))
    if (frame.damage !== undefined) lines.push(element('span', { class: 'bad' }, 'cannot be restored'))
    this.root.replaceChildren(...lines)
    this.root.classList.add('visible')
    const { offsetWidth: width, offsetHeight: height } = this.root
    const beside = clientX + gap + width < document.documentElement.clientWidth ? gap : -gap - width
    const left = Math.max(4, clientX + beside)
    const topEdge = Math.min(clientY + gap, window.innerHeight - height - 8)
    this.root.style.transform = `translate(${Math.round(left)}px, ${Math.round(topEdge)}px)`
  }

  hide(): void {
    this.root.classList.remove('visible')
  }
}
