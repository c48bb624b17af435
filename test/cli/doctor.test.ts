/**
 * Promise: `doctor` reports for every engine whether it can be used here, and if not, why. The
 * tests compare the output of the command with what the library's `capabilities()` finds in this
 * process.
 */

import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { capabilities } from '../../lib/index.js'
import { sharedTemporaryDirectory } from '../support/temporary-directory.js'
import { run, runJson } from './run.js'

const directory = sharedTemporaryDirectory()

describe('doctor', () => {
  it('names every engine, with the reason when it cannot be used', async () => {
    const { status, stdout, stderr } = await run(['doctor', '--dir', directory])
    const text = stdout.toString().replace(/\s+/g, ' ')
    expect(status).toBe(0)
    expect(stderr).toBe('')
    for (const [name, { available, reason }] of Object.entries(capabilities().engines)) {
      expect(text).toContain(available ? `✓ ${name}` : `✗ ${name}`)
      // The first letter may have been capitalized.
      if (!available) expect(text).toContain(reason.slice(1).replace(/\.$/, ''))
    }
  })

  it('prints one JSON document with engines, features, hazards and room', async () => {
    const { status, json } = await runJson(['doctor', '--dir', directory])
    const found = capabilities()
    expect(status).toBe(0)
    expect(json['ok']).toBe(true)
    expect(json['engines']).toEqual(found.engines)
    expect(json['features']).toEqual(found.features)
    expect(json['heap']).toEqual({ available: true, reason: '' })
    expect(json['directory']).toBe(directory)
    expect(json['availableBytes']).toBeGreaterThan(0)
    expect(json['freeDiskBytes']).toBeGreaterThan(0)
    const codes = (json['hazards'] as unknown as { code: string }[]).map(({ code }) => code)
    expect(codes).toEqual([...new Set(codes)])
    for (const { code } of found.hazards) expect(codes).toContain(code)
  })

  it('says what was tried when the addon cannot be loaded', async () => {
    const env = { STILLFRAME_ADDON: join(directory, 'absent.node') }
    const { status, stdout, stderr } = await run(['doctor'], { env })
    expect(status).toBe(1)
    expect(stdout.toString()).toBe('')
    expect(stderr).toContain('ERR_STILLFRAME_ABI')
    expect(stderr).toContain('absent.node')
    expect(stderr).not.toMatch(/\n\s+at /)
  })

  it('says whether JavaScript state can be saved, and why not when the addon for this Node is missing', async () => {
    const here = await run(['doctor', '--dir', directory])
    expect(here.stdout.toString()).toContain('✓ stillframe/heap  can be used')
    const env = { STILLFRAME_HEAP_ADDON: join(directory, 'absent.node') }
    const { status, stdout, stderr } = await run(['doctor', '--dir', directory], { env })
    const text = stdout.toString()
    // Everything else works without it.
    expect(status).toBe(0)
    expect(stderr).toBe('')
    expect(text).toContain('– stillframe/heap  cannot be used')
    expect(text.replace(/\s+/g, '')).toContain(`${env.STILLFRAME_HEAP_ADDON}:doesnotexist`)
    const { json } = await runJson(['doctor', '--dir', directory], { env })
    expect(json['heap']).toMatchObject({ available: false })
  })

  it('fails for a directory that is not there', async () => {
    const { status, stderr } = await run(['doctor', '--dir', `${directory}/absent`])
    expect(status).toBe(1)
    expect(stderr).toContain('absent')
  })
})
