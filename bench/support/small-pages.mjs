// Runs benchmarks without huge pages on a machine that has them.
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { withTemporaryDirectory } from './temporary.mjs'

const source = fileURLToPath(new URL('../native/without_huge_pages.c', import.meta.url))

/** True if the kernel gives this process no huge pages, regardless of the machine's setting. */
export const hasNoHugePages = () => /^THP_enabled:\s+0$/m.test(readFileSync('/proc/self/status', 'latin1'))

/** Runs this program again, with the same arguments but without huge pages. Returns its status. */
export const runAgainWithoutHugePages = (directory) =>
  withTemporaryDirectory(directory, async (temporary) => {
    const wrapper = join(temporary, 'without-huge-pages')
    const compiled = spawnSync('gcc', ['-O2', source, '-o', wrapper], { encoding: 'utf8' })
    if (compiled.status !== 0)
      throw new Error(`--without-huge-pages needs gcc: ${compiled.stderr ?? compiled.error.message}`)
    const child = spawn(wrapper, [process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
      stdio: 'inherit',
    })
    for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
    const [status] = await once(child, 'close')
    return status ?? 1
  })
