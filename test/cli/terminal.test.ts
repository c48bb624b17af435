/**
 * Promise: output meant for a terminal goes only to terminals, and a reader that goes away causes
 * no crash. The tests run the command with pipes that they close, and in a pseudo-terminal made by
 * `script`.
 */

import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import { beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { Region, snapshot } from '../../lib/index.js'
import { needsTools } from '../support/needs.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { writeFixture } from './fixture.js'
import { mainPath, run } from './run.js'

const directory = sharedTemporaryDirectory()
const path = join(directory, 'fixture.stillframe')
const bigPath = join(directory, 'big.stillframe')
beforeAll(async () => {
  await writeFixture(path)
  using region = Region.allocate(2 ** 27)
  new Uint8Array(region.buffer).fill(1)
  await snapshot(region, bigPath).done
})

describe('a pipe', () => {
  it.each([['inspect', path], ['verify', path], ['verify', bigPath], ['doctor']])(
    'gets no colours and no progress bar from %s',
    async (...args) => {
      const { stdout, stderr } = await run(args)
      expect(stdout.toString()).not.toContain('\u001b')
      expect(stderr).toBe('')
    },
  )

  it.each([['inspect', path], ['doctor'], ['--help']])('closed early is no crash for %s', async (...args) => {
    const { status, signal, stderr } = await run(args, { meanwhile: (child) => child.stdout?.destroy() })
    expect({ status, signal, stderr }).toEqual({ status: 0, signal: null, stderr: '' })
  })

  it('to a full disk is a failure', () => {
    const args = ['-c', '"$0" "$1" inspect "$2" > /dev/full', process.execPath, mainPath, path]
    const { status, stderr } = spawnSync('bash', args, { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr).toContain('ENOSPC')
  })

  it('closed early ends an extraction without a word, but not as a success', async () => {
    const { status, signal, stderr } = await run(['extract', bigPath, 'main'], {
      meanwhile: (child) => child.stdout?.once('data', () => child.stdout?.destroy()),
    })
    expect({ status, signal, stderr }).toEqual({ status: 1, signal: null, stderr: '' })
  })

  it('that nobody reads does not keep an interrupted extraction alive', async () => {
    const { status } = await run(['extract', bigPath, 'main'], {
      meanwhile: (child) => {
        child.stdout?.once('data', () => {
          child.stdout?.pause()
          setTimeout(() => child.kill('SIGINT'), 300)
          // Reads nothing more until the process has exited.
          child.once('exit', () => child.stdout?.resume())
        })
      },
    })
    expect(status).toBe(130)
  })
})

describe('a terminal', () => {
  beforeEach((context) => {
    needsTools(context, 'script')
    // Not available in every container: it needs a mounted /dev/pts.
    const { status, stderr } = spawnSync('script', ['-qec', 'true', '/dev/null'], { encoding: 'utf8' })
    if (status !== 0) context.skip(`needs a pseudo-terminal: ${stderr.trim()}`)
  })

  /**
   * Runs the command line in a pseudo-terminal and returns the output that the terminal would show.
   */
  function inTerminal(command: string): { status: number | null; screen: string } {
    const log = join(directory, 'typescript')
    writeFileSync(log, '')
    const { status } = spawnSync('script', ['-qefc', command, log], {
      // Simulates a person's terminal wherever the test runs; CI alone would turn colors off.
      env: {
        ...process.env,
        TERM: 'xterm-256color',
        NO_COLOR: undefined,
        FORCE_COLOR: undefined,
        CI: undefined,
      },
    })
    return { status, screen: readFileSync(log, 'utf8') }
  }

  it('shows a progress bar while a file is verified, and takes it away', () => {
    const { status, screen } = inTerminal(`'${process.execPath}' '${mainPath}' verify '${bigPath}'`)
    expect(status).toBe(0)
    expect(screen).toContain('verifying')
    // The cursor is hidden while the bar is drawn, and must be visible at the end.
    expect(screen.lastIndexOf('\u001b[?25h')).toBeGreaterThan(screen.lastIndexOf('\u001b[?25l'))
    expect(screen).toContain('every byte is as it was written')
  })

  it('gets colours on stdout', () => {
    const { screen } = inTerminal(`'${process.execPath}' '${mainPath}' inspect '${path}'`)
    expect(screen).toContain('\u001b[')
  })

  it('gets maps that fill its width, with what differs standing out', async () => {
    const [before, after] = [join(directory, 'before.sf'), join(directory, 'after.sf')]
    await snapshot(Buffer.alloc(2 ** 22, 1), before, { durable: false }).done
    await snapshot(Buffer.alloc(2 ** 22, 1).fill(2, 0, 2 ** 21), after, { durable: false }).done
    for (const [columns, characters] of [
      [80, 56],
      [120, 96],
    ]) {
      const command = `stty cols ${columns}; '${process.execPath}' '${mainPath}' diff '${before}' '${after}'`
      const { screen } = inTerminal(command)
      const lines = stripVTControlCharacters(screen).split(/\r?\n/)
      const map = lines.filter((line) => /^ +0x/.test(line))
      expect(map.length).toBeGreaterThan(1)
      expect(map[0]).toMatch(new RegExp(` █{${characters}} `))
      for (const line of map) expect(line.length).toBeLessThanOrEqual(columns ?? 0)
      expect(screen).toContain('\u001b[2m··')
    }
  })

  it('gets no raw bytes', () => {
    const { status, screen } = inTerminal(`'${process.execPath}' '${mainPath}' extract '${path}' counters`)
    expect(status).toBe(2)
    expect(screen).toContain('cannot be written to a terminal')
    expect(screen).not.toContain('counter counter')
  })
})
