/**
 * Promise: after a SIGKILL in the middle of a frame, a service that keeps frames of its JavaScript
 * objects recovers the state of its last complete frame, with memory and objects of the same
 * instant. Proved on examples/cache-service over a real socket: a journal of all writes gives the
 * expected entries at the sequence number that the restarted service reports.
 */

import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Region } from 'stillframe'
import { openArchive } from 'stillframe/archive'
import type { StateWriter } from 'stillframe/heap'
import { afterEach, expect, test } from 'vitest'
import { strayFilesOf } from '../support/archive-files.js'
import { childrenOf, hasEnded, nameOf, stateOf, waitUntil } from '../support/processes.mjs'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const children: ChildProcess[] = []
afterEach(async () => {
  for (const child of children.splice(0)) await ended(child, 'SIGKILL')
})
const server = fileURLToPath(new URL('../../examples/cache-service/server.mjs', import.meta.url))
/** Not a multiple of the batch size, so that the last batch of a frame is incomplete. */
const objects = 20_500

interface Status {
  sequence: number
  size: number
  frames: { taken: number; failed: number; capturing: boolean; last?: { number: number; sequence: number } }
}

class Service {
  readonly process: ChildProcess
  readonly #port: number
  private constructor(process: ChildProcess, port: number) {
    this.process = process
    this.#port = port
  }

  static environment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      PORT: '0',
      CACHE_ARCHIVE: inDirectory('frames'),
      CACHE_OBJECTS: String(objects),
      CACHE_FRAME_SECONDS: '0.05',
    }
  }

  static async start(): Promise<Service> {
    const child = spawn(process.execPath, [server], {
      env: Service.environment(),
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    children.push(child)
    const [line] = (await Promise.race([
      once(createInterface({ input: child.stdout }), 'line'),
      once(child, 'exit').then(([status]) => Promise.reject(new Error(`the service ended: ${status}`))),
    ])) as [string]
    return new Service(child, Number(/port (\d+)/.exec(line)?.[1]))
  }

  get pid(): number {
    return this.process.pid as number
  }

  async request(method: string, path: string, body?: unknown): Promise<unknown> {
    const response = await fetch(`http://127.0.0.1:${this.#port}${path}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    })
    expect([200, 404]).toContain(response.status)
    const content = await response.json()
    return response.status === 404 ? undefined : content
  }

  async status(): Promise<Status> {
    return (await this.request('GET', '/status')) as Status
  }

  async untilCaptured(sequence: number): Promise<void> {
    const end = performance.now() + 30_000
    while (((await this.status()).frames.last?.sequence ?? 0) < sequence) {
      if (performance.now() > end) throw new Error(`write ${sequence} is in no frame`)
    }
  }

  /** Stops a copy in the middle of a frame, and keeps writing until there is a copy to stop. */
  async holdCapture(write: () => Promise<void>): Promise<number> {
    const end = performance.now() + 30_000
    while (performance.now() < end) {
      await write()
      // A copy takes this name when it is about to run the callback.
      const copy = childrenOf(this.pid).find((pid) => nameOf(pid) === 'stillframe')
      if (copy === undefined) continue
      process.kill(copy, 'SIGSTOP')
      await waitUntil(() => stateOf(copy) === 'T' || hasEnded(copy), 'the copy had stopped')
      if (stateOf(copy) === 'T') return copy
    }
    throw new Error('no copy was caught at work')
  }

  async end(signal: NodeJS.Signals): Promise<void> {
    await ended(this.process, signal)
  }
}

async function ended(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exit = once(child, 'exit')
  child.kill(signal)
  await exit
}

/**
 * All writes, each with the sequence number that the service gave it. A deletion has the value
 * undefined.
 */
class Journal {
  #writes: { key: string; value: unknown; sequence: number }[] = []
  #next = 0

  /** Writes to one entry after the other, deletes every eleventh, and adds new ones. */
  async write(service: Service): Promise<void> {
    const n = this.#next++
    const key = n % 3 === 0 ? `new-${n}` : `product-${(n * 7919) % objects}`
    const value = n % 11 === 1 ? undefined : { id: n, name: `written ${n}` }
    const answer = (await (value === undefined
      ? service.request('DELETE', `/entries/${key}`)
      : service.request('PUT', `/entries/${key}`, value))) as { sequence: number } | undefined
    if (answer !== undefined) this.#writes.push({ key, value, sequence: answer.sequence })
  }

  get sequence(): number {
    return this.#writes.at(-1)?.sequence ?? objects
  }

  /** Forgets the later writes, which the service has lost. */
  forgetAfter(sequence: number): void {
    this.#writes = this.#writes.filter((write) => write.sequence <= sequence)
  }

  /** The state of the written entries after write `sequence`. */
  stateAt(sequence: number): Map<string, { value: unknown; sequence: number } | undefined> {
    const state = new Map()
    for (const { key } of this.#writes) state.set(key, original(key))
    for (const write of this.#writes) {
      if (write.sequence > sequence) break
      const { key, value } = write
      state.set(key, value === undefined ? undefined : { value, sequence: write.sequence })
    }
    return state
  }
}

/** The entry with which the example fills its cache, if it has one for this key. */
function original(key: string): { value: unknown; sequence: number } | undefined {
  const id = Number(/^product-(\d+)$/.exec(key)?.[1] ?? -1)
  if (id < 0) return undefined
  const value = { id, name: `Product ${id}`, price: (id % 9_973) / 100, tags: ['new', 'sale'] }
  return { value, sequence: id + 1 }
}

/** Describes the first entry that differs from the journal. */
async function wrongEntry(service: Service, journal: Journal, sequence: number): Promise<string | undefined> {
  const wanted = journal.stateAt(sequence)
  for (const id of [0, 1, objects - 501, objects - 1]) {
    const key = `product-${id}`
    if (!wanted.has(key)) wanted.set(key, original(key))
  }
  for (const [key, entry] of wanted) {
    const found = (await service.request('GET', `/entries/${key}`)) as typeof entry
    const same =
      found?.sequence === entry?.sequence && JSON.stringify(found?.value) === JSON.stringify(entry?.value)
    if (!same) return `${key}: ${JSON.stringify(found)} instead of ${JSON.stringify(entry)}`
  }
  return undefined
}

/** Checks that a service that has ended has left nothing but frames, and returns their numbers. */
async function numbersOfFrames(): Promise<number[]> {
  // Opens as a writer: the lock of the killed writer is free, and its unfinished files are removed.
  await using archive = await openArchive(inDirectory('frames'))
  expect(strayFilesOf(inDirectory('frames'))).toEqual([])
  const { ok, frames } = await archive.verify()
  expect(ok).toBe(true)
  expect(frames.every(({ frame }) => frame?.hasState)).toBe(true)
  return frames.map(({ number }) => number)
}

test('after a kill in the middle of a frame (3 times) it is as at its last complete frame', async () => {
  const journal = new Journal()
  let service = await Service.start()
  expect(await service.status()).toMatchObject({ sequence: objects, size: objects })
  for (let kill = 1; kill <= 3; kill++) {
    for (let write = 0; write < 50; write++) await journal.write(service)
    await service.untilCaptured(journal.sequence)
    const copy = await service.holdCapture(() => journal.write(service))
    for (let write = 0; write < 20; write++) await journal.write(service)
    const { sequence, frames } = await service.status()
    const last = frames.last as NonNullable<typeof frames.last>
    expect(frames).toMatchObject({ capturing: true, failed: 0 })
    expect(sequence).toBe(journal.sequence)
    expect(last.sequence).toBeLessThan(sequence)

    await service.end('SIGKILL')
    await waitUntil(() => hasEnded(copy), 'the copy had ended with the service')
    expect((await numbersOfFrames()).at(-1)).toBe(last.number)

    service = await Service.start()
    const after = await service.status()
    expect(after.sequence).toBe(last.sequence)
    const present = [...journal.stateAt(last.sequence)].map(
      ([key, entry]) => Number(!!entry) - Number(!!original(key)),
    )
    expect(after.size).toBe(present.reduce((sum, change) => sum + change, objects))
    expect(await wrongEntry(service, journal, last.sequence)).toBeUndefined()
    journal.forgetAfter(last.sequence)
  }
})

test('after SIGTERM it is as it was at the end', async () => {
  const journal = new Journal()
  let service = await Service.start()
  for (let write = 0; write < 50; write++) await journal.write(service)
  await service.end('SIGTERM')
  expect(service.process.exitCode).toBe(0)
  await numbersOfFrames()
  service = await Service.start()
  expect((await service.status()).sequence).toBe(journal.sequence)
  expect(await wrongEntry(service, journal, journal.sequence)).toBeUndefined()
})

test('it does not start with memory and objects of two instants', async () => {
  // The state as the example writes it; only the number in memory differs.
  const archive = await openArchive(inDirectory('frames'))
  const counter = Region.allocate(8)
  new Float64Array(counter.buffer)[0] = 2
  const state = (out: StateWriter): void => {
    out.value({ sequence: 1, size: 1 })
    out.value([['key', { value: 1, sequence: 1 }]])
  }
  await archive.capture({ counter }, { state }).done
  await archive.close()
  const { status, stderr } = spawnSync(process.execPath, [server], {
    env: Service.environment(),
    encoding: 'utf8',
    timeout: 30_000,
  })
  expect(status).toBe(1)
  expect(stderr).toContain('memory and objects of frame 1 do not agree')
})
