// A region as pages that can be written one by one, even beyond 4 GiB, the limit of typed arrays on
// Node 20.
import { capabilities, Region } from 'stillframe'

export const KIB = 2 ** 10
export const MIB = 2 ** 20
export const GIB = 2 ** 30
export const HUGE_PAGE = 2 * MIB
export const PAGE = capabilities().pageSize

const PER_WINDOW = GIB / PAGE

export class Pages {
  #windows = []

  constructor(region) {
    this.count = region.byteLength / PAGE
    for (let at = 0; at < region.byteLength; at += GIB) {
      this.#windows.push(new Uint8Array(region.buffer, at, Math.min(GIB, region.byteLength - at)))
    }
  }

  /**
   * One byte of the page, at a varying offset: with a fixed one, pages would compete for one cache
   * set.
   */
  write(page, value) {
    this.#windows[Math.floor(page / PER_WINDOW)][(page % PER_WINDOW) * PAGE + ((page * 64) % PAGE)] = value
  }

  /** One byte of every page. */
  writeAll(value) {
    for (let page = 0; page < this.count; page++) this.write(page, value)
  }

  /** Writes every byte, so that the region gets all of its memory. */
  fill(value) {
    for (const window of this.#windows) window.fill(value)
  }
}

/** A region with all of its memory allocated, and none of it zero. */
export const touchedRegion = (byteLength, hugePages) => {
  const region = Region.allocate(byteLength, { hugePages })
  const pages = new Pages(region)
  pages.fill(1)
  return { region, pages }
}
