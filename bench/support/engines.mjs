// The four methods of freezing that are compared. Fork comes first, since the others are measured
// against it.
import { capabilities, Region, snapshot } from 'stillframe'
import { runScenario } from './scenario.mjs'

/** By label: the options that select the method, including the feature that it needs. */
export const engineOptions = {
  fork: { engine: 'fork', onMemoryLimit: 'abort' },
  mprotect: { engine: 'mprotect', kernelWrites: false, onMemoryLimit: 'wait' },
  'userfaultfd thread': { engine: 'userfaultfd', kernelWrites: true, onMemoryLimit: 'wait' },
  'userfaultfd signal': { engine: 'userfaultfd', kernelWrites: false, onMemoryLimit: 'wait' },
}

/** Labels of the engines that work here; the others are added to `skipped` with the reason. */
export const usableEngines = async (directory, skipped) => {
  const reasons = await runScenario(import.meta.url, 'reasons', { directory })
  const labels = Object.keys(engineOptions)
  for (const what of labels) if (reasons[what] !== undefined) skipped.push({ what, reason: reasons[what] })
  return labels.filter((label) => reasons[label] === undefined)
}

export const scenarios = {
  /** By label: why it does not work; undefined if it does. */
  async reasons({ directory }) {
    const reasons = {}
    for (const label of Object.keys(engineOptions)) reasons[label] = await whyNot(label, directory)
    return reasons
  },
}

/** Determined by trying. */
const whyNot = async (label, directory) => {
  const region = Region.allocate(capabilities().pageSize)
  try {
    const shot = snapshot(region, `${directory}/probe`, { ...engineOptions[label], durable: false })
    const handling = { 'userfaultfd thread': 'thread', 'userfaultfd signal': 'signal' }[label]
    await shot.done
    if (handling === undefined || shot.faultHandling === handling) return undefined
    return `this machine gives userfaultfd with fault handling by ${shot.faultHandling} only`
  } catch (error) {
    return error.message
  } finally {
    region.close()
  }
}
