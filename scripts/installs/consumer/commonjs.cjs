const assert = require('node:assert/strict')
const { readFileSync, rmSync } = require('node:fs')
const { Region, restore, snapshot } = require('stillframe')
const { snapshotState } = require('stillframe/heap')

async function main() {
  const region = Region.allocate(2 ** 20, { shared: true })
  const bytes = new Uint8Array(region.buffer).fill(1)
  const running = snapshot(region, 'required.stillframe')
  bytes.fill(2)
  await running.done
  const restored = await restore('required.stillframe')
  assert(new Uint8Array(restored.regions.main.buffer).every((byte) => byte === 1))
  restored.close()
  await snapshotState('required.state', (out) => out.write('of one instant')).done
  assert.equal(readFileSync('required.state', 'utf8'), 'of one instant')
  for (const made of ['required.stillframe', 'required.state']) rmSync(made)
  console.log('works')
}
main()
