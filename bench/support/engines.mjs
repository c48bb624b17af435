// The four ways to freeze that are compared, with fork first: the others are measured against it.
import { capabilities, Region, snapshot } from 'stillframe'
import { runScenario } from './scenario.mjs'

/** By label: the options that choose it, and the feature that it needs. */
export const engineOptions = {
  fork: { engine: 'fork', onMemoryLimit: 'abort' },
  mprotect: { engine: 'mprotect', kernelWrites: false, onMemoryLimit: 'wait' },
  'userfaultfd thread': { engine: 'userfaultfd', kernelWrites: true, onMemoryLimit: 'wait' },
  'userfaultfd signal': { engine: 'userfaultfd', kernelWrites: false, onMemoryLimit: 'wait' },
}

/** Labels of the engines that work here; `skipped` collects the others with the reason. */
export const usableEngines = async (directory, skipped) => {
  const reasons = await runScenario(import.meta.url, 'reasons', { directory })
  const labels = Object.keys(engineOptions)
  for (const what of labels) if (reasons[what] !== undefined) skipped.push({ what, reason: reasons[what] })
  return labels.filter((label) => reasons[label] === undefined)
}

export const scenarios = {
  /** By label: why it does not work, undefined when it does. */
  async reasons({ directory }) {
    const reasons = {}
    for (const label of Object.keys(engineOptions)) reasons[label] = await whyNot(label, directory)
    return reasons
  },
}

/** Whether it works is found out by doing it. */
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
