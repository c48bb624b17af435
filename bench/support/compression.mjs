// Tests whether this build can save and restore compressed snapshots.
import { Region, restore, snapshot } from 'stillframe'
import { PAGE } from './pages.mjs'
import { runScenario } from './scenario.mjs'

/**
 * The reasons why not, by `saving` and `restoring`; undefined if it works. Determined by trying.
 */
export const whyNoCompression = (directory) => runScenario(import.meta.url, 'reasons', { directory })

const reasonOf = async (act) => {
  try {
    await act()
    return undefined
  } catch (error) {
    return `not available: ${error.message}`
  }
}

export const scenarios = {
  async reasons({ directory }) {
    const path = `${directory}/probe`
    const region = Region.allocate(PAGE)
    const options = { compression: { codec: 'zstd', level: 1 } }
    const saving = await reasonOf(() => snapshot(region, path, options).done)
    const restoring = saving ?? (await reasonOf(async () => (await restore(path, { mode: 'copy' })).close()))
    return { saving, restoring }
  },
}
