/** Mouse, touch and keyboard input on the charts. */

import { plotLeft, plotRight } from './plot.js'
import type { View } from './view.js'

/** Zoom factor per pixel of wheel movement. */
const wheelStep = 1.0018
/** A shorter drag, in pixels, counts as a click. */
const clickSlop = 5

/** Callbacks of the gestures. */
export interface Handlers {
  point(position: number, event: PointerEvent): void
  leave(): void
  choose(position: number): void
  /** The range being drawn, as positions of the view; undefined when drawing has ended. */
  mark(range: { from: number; to: number } | undefined): void
}

/** Listens to pointers and the wheel on the charts. */
export function listenToPointers(root: HTMLElement, view: View, handlers: Handlers): void {
  const pointers = new Map<number, PointerEvent>()
  let begin: PointerEvent | undefined
  let fingersApart: { distance: number; middle: number } | undefined

  const positionAt = (clientX: number): number => positionOn(root, view, clientX)
  const plotWidth = (): number => plotOf(root).width
  const rangeTo = (event: PointerEvent): { from: number; to: number } => {
    const [a, b] = [positionAt(begin?.clientX ?? event.clientX), positionAt(event.clientX)]
    return { from: Math.min(a, b), to: Math.max(a, b) }
  }
  const isFar = (event: PointerEvent): boolean =>
    begin !== undefined && Math.abs(event.clientX - begin.clientX) > clickSlop

  root.addEventListener('pointerdown', (event) => {
    if (event.button !== 0) return
    pointers.set(event.pointerId, event)
    if (pointers.size === 1) begin = event
    else {
      handlers.mark(undefined)
      begin = undefined
      fingersApart = measure(pointers)
    }
    if (event.pointerType === 'mouse') root.setPointerCapture(event.pointerId)
  })
  root.addEventListener('pointermove', (event) => {
    const before = pointers.get(event.pointerId)
    if (before !== undefined) pointers.set(event.pointerId, event)
    if (fingersApart !== undefined && pointers.size === 2) {
      const now = measure(pointers)
      const held = positionAt(fingersApart.middle)
      view.zoom(fingersApart.distance / Math.max(now.distance, 1), held)
      view.pan((fingersApart.middle - now.middle) / plotWidth())
      fingersApart = now
    } else if (before !== undefined && begin !== undefined && isFar(event)) {
      if (event.pointerType === 'mouse' && !event.shiftKey) handlers.mark(rangeTo(event))
      else view.pan((before.clientX - event.clientX) / plotWidth())
    }
    handlers.point(positionAt(event.clientX), event)
  })
  const end = (event: PointerEvent, isCancelled: boolean): void => {
    const isLast = pointers.delete(event.pointerId) && pointers.size === 0
    if (pointers.size < 2) fingersApart = undefined
    handlers.mark(undefined)
    if (!isLast || begin === undefined || isCancelled) return
    if (!isFar(event)) handlers.choose(positionAt(event.clientX))
    else if (event.pointerType === 'mouse' && !event.shiftKey) view.show(rangeTo(event))
    begin = undefined
  }
  root.addEventListener('pointerup', (event) => end(event, false))
  root.addEventListener('pointercancel', (event) => end(event, true))
  root.addEventListener('pointerleave', () => handlers.leave())
  root.addEventListener('dblclick', () => view.showAll())
  listenToWheel(root, view, true)
}

/**
 * The wheel zooms with Ctrl (which touch pads report for a pinch), or without it if no key is
 * required. Otherwise it keeps scrolling the page, and sideways movement pans the view.
 */
export function listenToWheel(root: HTMLElement, view: View, needsKey: boolean): void {
  root.addEventListener(
    'wheel',
    (event) => {
      const unit = event.deltaMode === 1 ? 33 : event.deltaMode === 2 ? 400 : 1
      const sideways = event.shiftKey && event.deltaX === 0 ? event.deltaY : event.deltaX
      if (event.ctrlKey || event.metaKey || (!needsKey && Math.abs(event.deltaY) > Math.abs(sideways))) {
        event.preventDefault()
        // A pinch arrives in small steps.
        const speed = event.ctrlKey && Math.abs(event.deltaY) < 20 ? 6 : 1
        view.zoom(wheelStep ** (event.deltaY * unit * speed), positionOn(root, view, event.clientX))
      } else if (Math.abs(sideways) > Math.abs(event.deltaY) || event.shiftKey) {
        event.preventDefault()
        view.pan((sideways * unit) / root.clientWidth)
      }
    },
    { passive: false },
  )
}

/** Listens to keys on the slider that represents the frames. */
export function listenToKeys(
  slider: HTMLElement,
  view: View,
  step: (by: number) => void,
  selectedPosition: () => number,
): void {
  const actions: Record<string, () => void> = {
    ArrowLeft: () => step(-1),
    ArrowDown: () => step(-1),
    ArrowRight: () => step(1),
    ArrowUp: () => step(1),
    PageDown: () => step(-10),
    PageUp: () => step(10),
    Home: () => step(Number.NEGATIVE_INFINITY),
    End: () => step(Number.POSITIVE_INFINITY),
    '+': () => view.zoom(0.6, selectedPosition()),
    '=': () => view.zoom(0.6, selectedPosition()),
    '-': () => view.zoom(1 / 0.6, selectedPosition()),
    '0': () => view.showAll(),
    Escape: () => view.showAll(),
  }
  slider.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return
    const isPan = event.shiftKey && (event.key === 'ArrowLeft' || event.key === 'ArrowRight')
    const action = isPan ? () => view.pan(event.key === 'ArrowLeft' ? -0.25 : 0.25) : actions[event.key]
    if (action === undefined) return
    event.preventDefault()
    action()
  })
}

/** The position of the view at a screen coordinate. */
function positionOn(root: HTMLElement, { range }: View, clientX: number): number {
  const { begin, width } = plotOf(root)
  return range.from + ((clientX - begin) / width) * (range.to - range.from)
}

function plotOf(root: HTMLElement): { begin: number; width: number } {
  const { left, width } = root.getBoundingClientRect()
  return { begin: left + plotLeft(width), width: width - plotLeft(width) - plotRight }
}

function measure(pointers: ReadonlyMap<number, PointerEvent>): { distance: number; middle: number } {
  const [a = 0, b = 0] = [...pointers.values()].map(({ clientX }) => clientX)
  return { distance: Math.abs(a - b), middle: (a + b) / 2 }
}
