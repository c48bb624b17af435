/**
 * What JavaScript may do in a forked copy of the process: compute, and hand over what it has come to. There are no
 * other threads there and no event loop, so whatever needs one is refused where it can be. Everything that is changed
 * here is changed in the copy only.
 */

import { createRequire, syncBuiltinESMExports } from 'node:module'
import { serialize } from 'node:v8'

const require = createRequire(import.meta.url)

/** Longest serialized error that comes back; see `native/heap/control.h`. */
const maxFailureBytes = 65_536

/** Functions that start something which the copy cannot have. */
const refused: readonly (readonly [module: string, names: readonly string[]])[] = [
  ['node:child_process', ['exec', 'execFile', 'execFileSync', 'execSync', 'fork', 'spawn', 'spawnSync']],
  ['node:worker_threads', ['Worker']],
  ['node:cluster', ['fork']],
  ['node:timers', ['setImmediate', 'setInterval', 'setTimeout']],
]

/** Makes them throw. */
export function refuseWhatCannotWork(): void {
  for (const [module, names] of refused) {
    const exports = require(module) as Record<string, unknown>
    for (const name of names) exports[name] = refuse(`${module.replace('node:', '')}.${name}`)
  }
  syncBuiltinESMExports()
  const globals = globalThis as unknown as Record<string, unknown>
  for (const name of ['setImmediate', 'setInterval', 'setTimeout']) globals[name] = refuse(name)
  for (const name of ['exit', 'reallyExit', 'abort'] as const) {
    ;(process as unknown as Record<string, unknown>)[name] = refuse(`process.${name}`)
  }
}

/** Works as a function and as a constructor. */
function refuse(what: string): () => never {
  return function refused(): never {
    throw new Error(
      `${what}() cannot be used here: the callback of snapshotState() runs in a frozen copy of the process, which ` +
        'has no other threads and no event loop. Write what it needs with `out`, and do the rest in the service',
    )
  }
}

/** An error as bytes that tell as much of it as can be told. */
export function serializeThrown(thrown: unknown): Uint8Array {
  for (const candidate of [thrown, describeThrown(thrown)]) {
    try {
      const bytes = serialize(candidate)
      if (bytes.length <= maxFailureBytes) return bytes
    } catch {
      // Not everything can be cloned; a text can.
    }
  }
  return serialize('something that cannot be described')
}

function describeThrown(thrown: unknown): unknown {
  try {
    const error = new Error(String(thrown instanceof Error ? thrown.message : thrown).slice(0, 10_000))
    error.stack = String((thrown as Partial<Error> | undefined)?.stack ?? error.stack).slice(0, 10_000)
    return error
  } catch {
    return undefined
  }
}
