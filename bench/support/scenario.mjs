// Runs one scenario of a benchmark in its own process, so that it does not inherit the heap, the
// mappings or the huge pages of another one.
import { fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'

const entry = fileURLToPath(new URL('./scenario-process.mjs', import.meta.url))

/**
 * Calls `scenarios[name](options, tell)` of the module in a child process. Messages that the
 * scenario passes to `tell` arrive at `onTold(message, pid)`.
 *
 * @returns what the scenario returns. Rejects with its error, or if it takes longer than
 *   `timeoutMs`.
 */
export const runScenario = (module, name, options, { onTold, timeoutMs = 300_000 } = {}) =>
  new Promise((resolve, reject) => {
    const child = fork(entry, { serialization: 'advanced' })
    let outcome = { error: undefined }
    const timer = setTimeout(() => {
      outcome = { error: `took longer than ${timeoutMs / 1000} s` }
      child.kill('SIGKILL')
    }, timeoutMs)
    child.on('message', (message) => {
      if ('told' in message) onTold?.(message.told, child.pid)
      else outcome = message
    })
    child.once('error', reject)
    child.once('exit', (code, signal) => {
      clearTimeout(timer)
      if ('result' in outcome) resolve(outcome.result)
      else reject(new Error(outcome.error ?? `the scenario's process ended by ${signal ?? `status ${code}`}`))
    })
    child.send({ module, name, options })
  })

/**
 * The same, for one scenario among many: if it fails, adds the reason to `skipped`, sets the exit
 * status to 1, and returns undefined.
 */
export const tryScenario = async (skipped, what, ...scenario) => {
  try {
    return await runScenario(...scenario)
  } catch (error) {
    process.exitCode = 1
    skipped.push({ what, reason: `failed: ${error.message}` })
    return undefined
  }
}
