import assert from 'node:assert/strict'
import { rmSync } from 'node:fs'
import { Region, restore, type Snapshot, type SnapshotResult, StillframeError, snapshot } from 'stillframe'
import { type ForkJob, readValues, snapshotState } from 'stillframe/heap'

const region: Region<SharedArrayBuffer> = Region.allocate(2 ** 20, { name: 'main', shared: true })
new Uint8Array(region.buffer).fill(1)
const running: Snapshot = snapshot({ main: region }, 'typed.stillframe', { engine: 'auto' })
const { byteLength }: SnapshotResult = await running.done
assert.equal(byteLength, 2 ** 20)
// @ts-expect-error an unknown option
assert.throws(() => snapshot(region, 'typed.stillframe', { engin: 'auto' }), TypeError)
await assert.rejects(restore('missing.stillframe'), StillframeError)
const restored = await restore('typed.stillframe')
const again: Region | undefined = restored.regions['main']
assert(again !== undefined && new Uint8Array(again.buffer).every((byte) => byte === 1))
restored.close()
const job: ForkJob = snapshotState('typed.values', (out) => out.value({ byteLength }))
await job.done
for await (const value of readValues(job.path)) assert.deepEqual(value, { byteLength })
for (const made of ['typed.stillframe', 'typed.values']) rmSync(made)
console.log('works')
