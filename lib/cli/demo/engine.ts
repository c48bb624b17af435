/** The methods that use stillframe: one for each engine that this machine supports. */

import { type EngineName, type Region, type RestoreOptions, restore, snapshot } from '../../index.js'
import type { Reopened, Way } from './way.js'

/** The method that saves `region` with `engine`. */
export function snapshotWith(engine: EngineName, region: Region): Way {
  return {
    name: engine,
    engine,
    save(path, signal, onProgress) {
      const saving = snapshot(region, path, {
        engine,
        signal,
        metadata: { demo: true },
        onProgress: ({ bytesDone }) => onProgress(bytesDone),
      })
      return {
        done: saving.done.then(({ copiedBytesPeak, fileSize }) => ({
          extraBytes: copiedBytesPeak,
          fileSize: fileSize,
        })),
      }
    },
    reopenings: [
      // Instant only if bytes are not verified; the demo compares every byte itself.
      {
        name: 'map',
        open: (path, signal) => reopen(path, { mode: 'map', verify: false, signal }),
      },
      {
        name: 'copy',
        open: (path, signal, onProgress) =>
          reopen(path, {
            mode: 'copy',
            verify: true,
            signal,
            onProgress: ({ bytesDone }) => onProgress(bytesDone),
          }),
      },
    ],
  }
}

async function reopen(path: string, options: RestoreOptions): Promise<Reopened> {
  const restored = await restore(path, options)
  const region = restored.regions['main']
  if (region === undefined) throw new Error(`${path} has no section 'main'`)
  return { buffer: region.buffer, close: () => restored.close() }
}
