/** Programs of tests that run in processes of their own and report in lines of JSON on stdout. */

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { childrenOf } from './processes.mjs'

/** Result of a fixture. */
export interface FixtureEnd {
  /** Exit status; null if a signal ended the process. */
  status: number | null
  signal: NodeJS.Signals | null
  stderr: string
}

// biome-ignore lint/suspicious/noExplicitAny: what a fixture reports is looked into by its own test only
export type Report = Record<string, any>

/** Options of {@link startFixture}. */
export interface FixtureOptions {
  env?: Record<string, string>
  /**
   * A shared library to preload, after any that the tests themselves run under (a sanitizer's
   * runtime).
   */
  preload?: string
  nodeOptions?: readonly string[]
  cwd?: string
  /** Command prefix that runs `node`, such as `['setpriv', '--reuid=65534']`. */
  wrapper?: readonly string[]
  /** Makes the process the leader of a process group of its own. */
  detached?: boolean
}

export class Fixture {
  readonly child: ChildProcess
  readonly end: Promise<FixtureEnd>
  readonly #reports: Report[] = []
  #stderr = ''
  #ended: FixtureEnd | undefined
  #wake: () => void = () => {}

  constructor(url: URL, args: readonly string[], options: FixtureOptions) {
    const { env = {}, preload, nodeOptions = [], cwd, wrapper = [], detached = false } = options
    const preloaded = [process.env['LD_PRELOAD'], preload].filter((library) => library !== undefined)
    const command = [...wrapper, process.execPath, ...nodeOptions, fileURLToPath(url), ...args]
    this.child = spawn(command[0] as string, command.slice(1), {
      cwd,
      detached,
      env: {
        ...process.env,
        ...(preload === undefined ? {} : { LD_PRELOAD: preloaded.join(' ') }),
        ...env,
      },
      stdio: ['pipe', 'pipe', 'pipe'],
    })
    this.child.stderr?.on('data', (chunk: Buffer) => {
      this.#stderr += chunk.toString()
    })
    this.#readReports()
    this.end = new Promise((resolve, reject) => {
      this.child.once('error', reject)
      this.child.once('close', (status, signal) => {
        this.#ended = { status, signal, stderr: this.#stderr }
        resolve(this.#ended)
        this.#wake()
      })
    })
  }

  get pid(): number {
    return this.child.pid as number
  }

  /**
   * Returns the next report; fails if the fixture ends first or reports nothing within the limit.
   */
  async report(limitMs = 240_000): Promise<Report> {
    const end = performance.now() + limitMs
    while (this.#reports.length === 0) {
      if (this.#ended) throw new Error(`the fixture ended without a report: ${JSON.stringify(this.#ended)}`)
      const left = end - performance.now()
      if (left <= 0) throw new Error(`the fixture reported nothing for ${limitMs} ms. ${this.#stderr}`)
      let timer: NodeJS.Timeout | undefined
      await new Promise<void>((resolve) => {
        this.#wake = resolve
        timer = setTimeout(resolve, left)
      })
      clearTimeout(timer)
    }
    return this.#reports.shift() as Report
  }

  /** True if a report is waiting. */
  get hasReport(): boolean {
    return this.#reports.length > 0
  }

  /** Sends one line to the fixture's stdin. */
  tell(line: string): void {
    this.child.stdin?.write(`${line}\n`)
  }

  /**
   * Kills the fixture if it still runs, together with the children it would leave, and waits until
   * it is gone.
   */
  async clear(): Promise<void> {
    running.delete(this)
    if (this.#ended) return
    const children = childrenOf(this.pid)
    this.child.kill('SIGKILL')
    for (const pid of children) {
      try {
        process.kill(pid, 'SIGKILL')
      } catch {} // already gone
    }
    const { exitCode, signalCode } = this.child
    if (this.child.pid !== undefined && exitCode === null && signalCode === null)
      await once(this.child, 'exit')
  }

  #readReports(): void {
    let rest = ''
    this.child.stdout?.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString()).split('\n')
      rest = lines.pop() ?? ''
      for (const line of lines) {
        if (line.startsWith('{')) this.#reports.push(JSON.parse(line))
      }
      this.#wake()
    })
  }
}

/** Starts a fixture and kills what is left of it when the test has finished. */
export function startFixture(url: URL, args: readonly string[] = [], options: FixtureOptions = {}): Fixture {
  const fixture = new Fixture(url, args, options)
  running.add(fixture)
  onTestFinished(() => fixture.clear())
  return fixture
}

const running = new Set<Fixture>()

/** Kills all fixtures. Call it before removing the files that they write to. */
export async function clearFixtures(): Promise<void> {
  for (const fixture of running) await fixture.clear()
}
