// Whether snapshots can be compressed by the build at hand.
import { Region, snapshot } from 'stillframe'
import { PAGE } from './pages.mjs'
import { runScenario } from './scenario.mjs'

/** The reason why not, or undefined. It is found out by doing it. */
export const whyNoCompression = (directory) => runScenario(import.meta.url, 'reason', { directory })

export const scenarios = {
  async reason({ directory }) {
    const region = Region.allocate(PAGE)
    try {
      await snapshot(region, `${directory}/probe`, { compression: { codec: 'zstd', level: 1 } }).done
      return undefined
    } catch (error) {
      return `not available: ${error.message}`
    } finally {
      region.close()
    }
  },
}
