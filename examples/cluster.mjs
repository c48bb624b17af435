// One table in four processes, saved as of one instant: node cluster.mjs DIRECTORY
//
// Each worker has a quarter of the table. The primary gives each step of the service a number, the
// epoch, and sends it to all workers; a worker does that step, and captures. Between two epochs
// nothing changes, so the frames of one epoch are from the same instant. When all four are in the
// store, the primary makes a set of them; a set exists completely or not at all. If a worker dies,
// all four restart from the newest set. (If workers send each other messages, each message carries
// the epoch of its sender, and a receiver in an earlier epoch captures before it reads the
// message.)
import cluster from 'node:cluster'
import { once } from 'node:events'
import process from 'node:process'
import { Region } from 'stillframe'
import { commitSet, directoryStore, listSets, openArchive, restoreSet, shardStore } from 'stillframe/archive'

const workers = 4
const rowsOfWorker = 65_536
const [directory = 'cluster-sets'] = process.argv.slice(2)
// Any store works: s3({ … }) for workers on several machines.
const store = directoryStore(directory)

if (cluster.isPrimary) await runPrimary()
else await runWorker()

async function runPrimary() {
  for (;;) {
    // Chosen once, for all workers.
    const newest = (await listSets(store)).at(-1)
    const running = Array.from({ length: workers }, (_, shard) =>
      cluster.fork({ SHARD: `worker-${shard}`, SET: newest?.name ?? '' }),
    )
    // A worker that dies ends this round, but not a set that is being committed: its epoch must not
    // be used again.
    const died = new AbortController()
    for (const worker of running) worker.once('exit', () => died.abort())
    const lastEpoch = Number(newest?.name.slice('epoch-'.length) ?? 0)
    await takeSets(running, lastEpoch, died.signal).catch((error) => {
      if (error.name !== 'AbortError') throw error
    })
    for (const worker of running) worker.process.kill('SIGKILL')
    await Promise.all(running.map((worker) => worker.isDead() || once(worker, 'exit')))
  }
}

/**
 * @param {import('node:cluster').Worker[]} running
 * @param {number} lastEpoch
 * @param {AbortSignal} died
 */
async function takeSets(running, lastEpoch, died) {
  await Promise.all(running.map((worker) => answerOf(worker, died)))
  for (let epoch = lastEpoch + 1; ; epoch++) {
    const members = await Promise.all(
      running.map(async (worker) => {
        // The outcome is reported by the answer, or by the exit of the worker.
        worker.send({ epoch }, () => {})
        return await answerOf(worker, died)
      }),
    )
    await commitSet(store, `epoch-${epoch}`, members, { keep: 3 })
    console.log(JSON.stringify({ committed: epoch, pids: running.map(({ process: { pid } }) => pid) }))
  }
}

/** @param {import('node:cluster').Worker} worker @param {AbortSignal} signal */
async function answerOf(worker, signal) {
  const [answer] = await once(worker, 'message', { signal })
  return answer
}

async function runWorker() {
  const { SHARD: shard = '', SET: name } = process.env
  // The epoch, then the rows.
  const region = Region.allocate(4 * (1 + rowsOfWorker))
  if (name) await restoreSet(store, { shard, name, into: { main: region } })
  const table = new Uint32Array(region.buffer)
  // Deletes frames that the retention rules do not keep, but never a frame of a set.
  const archive = await openArchive(shardStore(store, shard), { retention: { last: 1 } })
  process.on('message', async (/** @type {{ epoch: number }} */ { epoch }) => {
    doStep(table, epoch)
    const { id } = await archive.capture(region, { set: `epoch-${epoch}` }).done
    process.send?.({ shard, frameId: id })
  })
  process.once('disconnect', () => process.exit())
  process.send?.('ready')
}

/** @param {Uint32Array} table @param {number} epoch */
function doStep(table, epoch) {
  table[0] = epoch
  for (let row = 1 + (epoch % 16); row < table.length; row += 16) table[row] = epoch
}
