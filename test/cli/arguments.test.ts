/**
 * Promise: a wrong command line never has any effect, says what is wrong in one line, and exits
 * with 2. Each test runs the built command as a process of its own and checks exit status, stdout
 * and stderr.
 */

import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { run } from './run.js'

const commands = [
  'demo',
  'inspect',
  'verify',
  'extract',
  'diff',
  'compact',
  'heap summary',
  'heap diff',
  'doctor',
]

describe('help', () => {
  it.each([
    [['help'], ['--help']],
    [['help', 'help'], ['--help']],
    [
      ['help', 'inspect'],
      ['inspect', '--help'],
    ],
    [
      ['help', 'heap', 'diff'],
      ['heap', 'diff', '--help'],
    ],
  ])('%j says the same as %j', async (args, same) => {
    const [asked, known] = [await run(args), await run(same)]
    expect(asked).toEqual(known)
    expect(asked.status).toBe(0)
  })

  it('knows no other command', async () => {
    const { status, stderr } = await run(['help', 'inspct'])
    expect(status).toBe(2)
    expect(stderr).toContain("Did you mean 'inspect'?")
  })

  it('lists every command', async () => {
    const { status, stdout, stderr } = await run(['--help'])
    expect(status).toBe(0)
    expect(stderr).toBe('')
    for (const command of commands) expect(stdout.toString()).toMatch(new RegExp(`^  ${command} `, 'm'))
  })

  it.each(commands)('of %s says how it is called and what each option does', async (command) => {
    const { status, stdout, stderr } = await run([...command.split(' '), '--help'])
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(stdout.toString()).toMatch(new RegExp(`^Usage: stillframe ${command}`, 'm'))
    expect(stdout.toString()).toMatch(/--json {3}/)
    // Every line fits a terminal slightly wider than usual.
    for (const line of stdout.toString().split('\n')) expect(line.length).toBeLessThanOrEqual(110)
  })

  it('needs no further arguments, and loads nothing that could fail', async () => {
    const { status } = await run(['extract', '-h'])
    expect(status).toBe(0)
  })

  it('gives the version of the package', async () => {
    const manifest = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
    const { status, stdout } = await run(['--version'])
    expect(status).toBe(0)
    expect(stdout.toString()).toBe(`${manifest.version}\n`)
  })
})

describe('a wrong command line', () => {
  const wrong: [what: string, args: string[], message: RegExp, hint: RegExp][] = [
    ['no command', [], /no command given/, /--help/],
    ['an unknown command', ['frobnicate'], /unknown command 'frobnicate'/, /demo, inspect, verify/],
    ['a mistyped command', ['verfiy'], /unknown command 'verfiy'/, /Did you mean 'verify'/],
    ['an unknown global option', ['--frobnicate'], /unknown option '--frobnicate'/, /--help/],
    [
      'an unknown option',
      ['inspect', 'f', '--frobnicate'],
      /unknown option '--frobnicate'/,
      /inspect --help/,
    ],
    ['a mistyped option', ['inspect', 'f', '--jsn'], /unknown option '--jsn'/, /Did you mean '--json'/],
    ['an unknown short option', ['verify', 'f', '-x'], /unknown option '-x'/, /verify --help/],
    [
      'a name that objects inherit',
      ['verify', 'f', '--constructor'],
      /unknown option '--constructor'/,
      /--help/,
    ],
    ['a missing argument', ['inspect'], /FILE is missing/, /inspect --help/],
    ['a missing second file', ['diff', 'f'], /B is missing/, /diff --help/],
    ['a missing second argument', ['extract', 'f'], /SECTION is missing/, /extract --help/],
    ['a surplus argument', ['verify', 'a', 'b'], /unexpected argument 'b'/, /verify --help/],
    ['a missing value', ['extract', 'f', 's', '-o'], /'-o' needs a value/, /extract --help/],
    ['an option as a value', ['extract', 'f', 's', '-o', '--force'], /'-o' needs a value/, /extract --help/],
    ['a value for a switch', ['inspect', 'f', '--json=yes'], /'--json' takes no value/, /inspect --help/],
    [
      'an option given twice',
      ['demo', '--seed', '1', '--seed', '2'],
      /'--seed' was given twice/,
      /demo --help/,
    ],
  ]

  it.each(wrong)(
    '%s: exit 2, one line and a hint on stderr, nothing on stdout',
    async (_, args, message, hint) => {
      const { status, stdout, stderr } = await run(args)
      expect(status).toBe(2)
      expect(stdout.toString()).toBe('')
      const lines = stderr.trimEnd().split('\n')
      expect(lines).toHaveLength(2)
      expect(lines[0]).toMatch(message)
      expect(lines[1]).toMatch(hint)
    },
  )

  it.each([
    ['no size', ['demo', '--size', 'many']],
    ['too little', ['demo', '--size', '1k']],
    ['no seed', ['demo', '--seed', '-0.5']],
    ['no engine', ['demo', '--engine', 'steam']],
    ['no count', ['verify', 'f', '--max-problems', '0']],
    ['no output', ['compact', 'f']],
    ['no output but stdout', ['compact', 'f', '-o', '-']],
    ['no codec', ['compact', 'f', '-o', 'o', '--compress', 'gzip']],
    ['no level', ['compact', 'f', '-o', 'o', '--compress', 'zstd:']],
    ['no such level', ['compact', 'f', '-o', 'o', '--compress', 'zstd:23']],
    ['none that is as low', ['compact', 'f', '-o', 'o', '--compress', 'zstd:-51']],
  ])('%s: exit 2 and nothing on stdout', async (_, args) => {
    const { status, stdout, stderr } = await run(args)
    expect(status).toBe(2)
    expect(stdout.toString()).toBe('')
    expect(stderr).not.toMatch(/\n\s+at /)
  })
})
