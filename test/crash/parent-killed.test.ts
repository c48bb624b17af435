/**
 * Promise: whenever the service is killed, the published name is a complete snapshot, the child is
 * gone within a second, and the next start leaves no temporary file. Proved by killing a service
 * that takes one snapshot after another at random moments, and letting its successor check and
 * clean up what is left.
 */

import { spawnSync } from 'node:child_process'
import {
  chownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { snapshot, verify } from 'stillframe'
import { describe, expect, test } from 'vitest'
import { startFixture } from '../support/fixture.js'
import { killAtRandomMoments } from '../support/killed-service.js'
import { longMode } from '../support/long-mode.mjs'
import { needsNamelessFiles, needsRoot, needsStrace, needsVariant } from '../support/needs.js'
import { hasEnded, waitUntil } from '../support/processes.mjs'
import { testSeed } from '../support/random.mjs'
import { temporaryFilesIn, useTemporaryDirectory } from '../support/temporary-directory.js'
import { inProcessVariants, optionsOf, type Variant } from '../support/variants.mjs'

const inDirectory = useTemporaryDirectory()
const generations = new URL('fixtures/generations.mjs', import.meta.url)

/**
 * Ways of publishing: with a nameless file, with a temporary name, and on a filesystem that cannot
 * exchange names.
 */
const ways: { variant: Variant; disabled: string }[] = [
  ...['', ...(longMode ? ['o_tmpfile', 'exchange'] : []), 'o_tmpfile,exchange'].map((disabled) => ({
    variant: 'fork' as const,
    disabled,
  })),
  // The killed process is also the one that saves.
  ...inProcessVariants.flatMap((variant) =>
    ['', 'o_tmpfile,exchange'].map((disabled) => ({ variant, disabled })),
  ),
]
const roundsOfEach = longMode ? 50 : 7
/** Long enough for several snapshots of the service. */
const longestMs = 150

for (const [index, { variant, disabled }] of ways.entries()) {
  const how = disabled === '' ? 'all steps' : `${disabled} disabled`
  test(`killed at random moments, ${variant} with ${how}, seed ${testSeed}`, {
    timeout: roundsOfEach * 40_000,
  }, async (context) => {
    needsVariant(context, variant)
    const options = JSON.stringify(optionsOf[variant])
    const start = () =>
      startFixture(generations, [inDirectory('file'), options], {
        env: { STILLFRAME_DISABLE: disabled },
        detached: true,
      })
    await killAtRandomMoments(start, { rounds: roundsOfEach, longestMs, index })
  })
}

test('killed before the child could ask to be told, which then finds out by itself', async (context) => {
  needsStrace(context)
  needsNamelessFiles(context, inDirectory())
  // The child waits in its first call until the service is gone. If it saved pages, that would take
  // minutes, longer than the wait below.
  const service = startFixture(
    new URL('fixtures/reports-child.mjs', import.meta.url),
    [inDirectory('file')],
    {
      wrapper: [
        ...['strace', '-f', '-qq', '-o', '/dev/null', '-e', 'trace=rt_sigaction,pwrite64'],
        ...['-e', 'inject=rt_sigaction:delay_enter=1000000:when=1'],
        ...['-e', 'inject=pwrite64:delay_enter=20000000'],
      ],
    },
  )
  const { service: pid, child } = await service.report()
  process.kill(pid, 'SIGKILL')
  await waitUntil(() => hasEnded(child), 'the child is gone')
  await service.end
  expect(readdirSync(inDirectory())).toEqual([])
})

/** FAT and some FUSE filesystems have no symbolic links. */
function linkIfPossible(target: string, path: string): void {
  try {
    symlinkSync(target, path)
  } catch (error) {
    expect(['EPERM', 'ENOSYS', 'EOPNOTSUPP']).toContain((error as NodeJS.ErrnoException).code)
  }
}

/**
 * FAT and similar filesystems have one owner for all files: some refuse to change it, some ignore
 * the change.
 */
function isGivenAway(path: string): boolean {
  const nobody = 65534
  try {
    chownSync(path, nobody, nobody)
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('EPERM')
  }
  return statSync(path).uid === nobody
}

describe('what a dead service has left under a temporary name', () => {
  const temporaryName = (digit: string): string => `.stillframe-${digit.repeat(32)}.tmp`

  test('is removed by the next snapshot into the directory, whatever its name', async () => {
    writeFileSync(inDirectory(temporaryName('a')), 'half a snapshot')
    await snapshot(new Uint8Array(10), inDirectory('file')).done
    expect(readdirSync(inDirectory())).toEqual(['file'])
  })

  test('is not mistaken for what others keep there', async () => {
    const others = [
      '.stillframe-short.tmp',
      `.stillframe-${'G'.repeat(32)}.tmp`,
      `stillframe-${'a'.repeat(32)}.tmp`,
    ]
    for (const name of others) writeFileSync(inDirectory(name), 'of somebody else')
    writeFileSync(inDirectory('precious'), 'precious')
    linkIfPossible('precious', inDirectory(temporaryName('b')))
    mkdirSync(inDirectory(temporaryName('c')))
    const fifo = inDirectory(temporaryName('d'))
    spawnSync('mkfifo', [fifo])
    // Filesystems without FIFOs may create a regular file instead.
    if (lstatSync(fifo, { throwIfNoEntry: false })?.isFile()) rmSync(fifo)
    const before = readdirSync(inDirectory()).sort()
    await snapshot(new Uint8Array(10), inDirectory('precious.snapshot')).done
    expect(readdirSync(inDirectory()).sort()).toEqual([...before, 'precious.snapshot'].sort())
    expect(readFileSync(inDirectory('precious'), 'utf8')).toBe('precious')
  })

  test('is not mistaken for the file of another user', async (context) => {
    needsRoot(context, 'to give a file away')
    writeFileSync(inDirectory(temporaryName('e')), 'of somebody else')
    if (!isGivenAway(inDirectory(temporaryName('e'))))
      context.skip('needs a filesystem whose files have owners')
    await snapshot(new Uint8Array(10), inDirectory('file')).done
    expect(readdirSync(inDirectory()).sort()).toEqual([temporaryName('e'), 'file'])
  })

  test('is not mistaken for the file of a service that is alive', async () => {
    const held = new URL('../support/fixtures/held.mjs', import.meta.url)
    const service = startFixture(held, ['snapshot', inDirectory('file')], {
      env: { STILLFRAME_DISABLE: 'o_tmpfile' },
    })
    await service.report()
    const [name] = temporaryFilesIn(inDirectory())
    expect(name).toBeDefined()
    await snapshot(new Uint8Array(10), inDirectory('other')).done
    expect(temporaryFilesIn(inDirectory())).toEqual([name])
    service.tell('release')
    expect(await service.report()).toEqual({ ok: true })
    expect(await verify(inDirectory('file'))).toMatchObject({ ok: true })
    expect(readdirSync(inDirectory()).sort()).toEqual(['file', 'other'])
  })
})
