// How fast does memory reach a bucket, and how fast is it restored? An archive in a directory
// copies its frame to a store, and restores a frame from there. Compared with the official client
// sending the same bytes from a file and fetching them into a file, in parts, as many at a time.
// The server is Ceph's gateway on this machine, which takes its share of the processors; all
// methods use the same server, in turns. A capture into an archive that exists only in the store is
// shown, too: it is written to the local disk first.
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { crc32 } from 'node:zlib'
import { Region } from 'stillframe'
import { openArchive } from 'stillframe/archive'
import { goalsTable } from './goals.mjs'
import { runIfMain } from './support/alone.mjs'
import { madeData } from './support/made-data.mjs'
import { MemoryWatch } from './support/memory-watch.mjs'
import { GIB, HUGE_PAGE, KIB, MIB } from './support/pages.mjs'
import { whyNoRoom } from './support/room.mjs'
import { tryScenario } from './support/scenario.mjs'
import { quantile, summary } from './support/statistics.mjs'
import { number, ratio, size } from './support/table.mjs'
import { warmMemory } from './support/warm-memory.mjs'

const script = fileURLToPath(new URL('../scripts/s3-server.sh', import.meta.url))
const PATIENCE_MS = 1_200_000
const START_PATIENCE_MS = 300_000
const PART = 8 * MIB
const PARTS_AT_ONCE = 16
/** Long enough for the parent to observe the process at rest. */
const REST_MS = 300

const filledRegion = (byteLength, seed) => {
  const region = Region.allocate(byteLength)
  const fill = madeData(seed)
  for (let at = 0; at < byteLength; at += HUGE_PAGE) fill(new Uint8Array(region.buffer, at, HUGE_PAGE))
  return region
}

const checksumOf = (buffer) => {
  let sum = 0
  for (let at = 0; at < buffer.byteLength; at += 64 * MIB)
    sum = crc32(new Uint8Array(buffer, at, Math.min(64 * MIB, buffer.byteLength - at)), sum)
  return sum
}

const clientOf = async ({ endpoint, region, accessKeyId, secretAccessKey }) => {
  const sdk = await import('@aws-sdk/client-s3')
  const client = new sdk.S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  })
  return { sdk, client }
}

const storeOf = async ({ server, bucket, round }) => {
  const { s3 } = await import('stillframe/s3')
  const { client } = await clientOf(server)
  return s3({ client, bucket, prefix: `archive/${round}` })
}

/** Duration of a request for a block by the official client: the median of several. */
const requestMs = async ({ server, bucket, round }) => {
  const { sdk, client } = await clientOf(server)
  const Range = `bytes=${PART}-${PART + 256 * KIB - 1}`
  const took = []
  for (let i = 0; i < 9; i++) {
    const started = performance.now()
    const { Body } = await client.send(
      new sdk.GetObjectCommand({ Bucket: bucket, Key: `sdk/${round}`, Range }),
    )
    await Body.transformToByteArray()
    took.push(performance.now() - started)
  }
  return quantile(
    took.sort((a, b) => a - b),
    0.5,
  )
}

/** Calls `work` with the number of each part, several at a time. */
const inParallel = async (parts, work) => {
  let next = 0
  await Promise.all(
    Array.from({ length: PARTS_AT_ONCE }, async () => {
      while (next < parts) await work(next++)
    }),
  )
}

/** Duration of `work` alone in milliseconds, while the parent observes from outside. */
const timed = async (tell, work) => {
  tell('ready')
  await new Promise((resolve) => setTimeout(resolve, REST_MS))
  tell('begin')
  const started = performance.now()
  const result = await work()
  const ms = performance.now() - started
  tell('end')
  return { ms, result }
}

const readThrough = async (directory) => {
  const piece = Buffer.alloc(MIB)
  for (const name of readdirSync(directory, { recursive: true })) {
    const file = await open(join(directory, name))
    if ((await file.stat()).isFile()) while ((await file.read(piece, 0, MIB)).bytesRead > 0);
    await file.close()
  }
}

const captured = 'stillframe, with the capture'

/** Methods of sending and fetching, by their names in the table. Each runs in its own process. */
const sending = {
  async stillframe(options, tell) {
    const { byteLength, seed, directory, round } = options
    const place = join(directory, 'archive')
    const region = filledRegion(byteLength, seed)
    const before = await openArchive(place)
    await before.capture(region).done
    await before.close()
    region.close()
    // Frames are written past the page cache, but both files should be in it.
    await readThrough(place)
    const store = await storeOf({ ...options, round: `copied/${round}` })
    const { ms, result } = await timed(tell, async () => {
      const archive = await openArchive(place, { store })
      await archive.copied()
      return archive
    })
    await result.close()
    rmSync(place, { recursive: true })
    return ms
  },

  async [captured](options, tell) {
    const { byteLength, seed, directory } = options
    const region = filledRegion(byteLength, seed)
    const archive = await openArchive(await storeOf(options), { spool: directory })
    const { ms } = await timed(tell, () => archive.capture(region).done)
    await archive.close()
    return ms
  },

  async 'the SDK'({ server, bucket, round, path, byteLength }, tell) {
    const { sdk, client } = await clientOf(server)
    const at = { Bucket: bucket, Key: `sdk/${round}` }
    const file = await open(path)
    const { ms } = await timed(tell, async () => {
      const { UploadId } = await client.send(new sdk.CreateMultipartUploadCommand(at))
      const Parts = []
      await inParallel(Math.ceil(byteLength / PART), async (part) => {
        const Body = Buffer.allocUnsafeSlow(Math.min(PART, byteLength - part * PART))
        await file.read(Body, 0, Body.length, part * PART)
        const PartNumber = part + 1
        const input = { ...at, UploadId, PartNumber, Body, ContentLength: Body.length }
        const { ETag } = await client.send(new sdk.UploadPartCommand(input))
        Parts[part] = { PartNumber, ETag }
      })
      const input = { ...at, UploadId, MultipartUpload: { Parts } }
      await client.send(new sdk.CompleteMultipartUploadCommand(input))
    })
    await file.close()
    return ms
  },
}

const fresh = 'stillframe, fresh memory'
const lazily = 'stillframe, lazy'

const fetching = {
  async stillframe(options, tell) {
    const { byteLength, directory, checksum } = options
    const archive = await openArchive(await storeOf(options), { readOnly: true, spool: directory })
    // Existing memory: only the additional memory is of interest.
    const region = Region.allocate(byteLength)
    new Uint8Array(region.buffer).fill(0xee)
    const { ms, result } = await timed(tell, () => archive.restore({ into: { main: region } }))
    if (checksumOf(region.buffer) !== checksum) throw new Error('other bytes have come back')
    result.close()
    await archive.close()
    return ms
  },

  /** For comparison with the lazy restore, which allocates memory, too. */
  async [fresh](options, tell) {
    const { byteLength, directory, checksum } = options
    const archive = await openArchive(await storeOf(options), { readOnly: true, spool: directory })
    const { ms, result } = await timed(tell, () => archive.restore())
    if (checksumOf(result.regions.main.buffer) !== checksum) throw new Error('other bytes have come back')
    result.close()
    await archive.close()
    return { ms, madeBytes: byteLength }
  },

  /** The memory is available immediately; the time is that of the complete restore. */
  async [lazily](options, tell) {
    const { byteLength, directory, checksum } = options
    const archive = await openArchive(await storeOf(options), { readOnly: true, spool: directory })
    const { ms, result } = await timed(tell, async () => {
      const asked = performance.now()
      const restored = await archive.restore({ mode: 'lazy' })
      const { buffer } = restored.regions.main
      const started = performance.now()
      const thereMs = started - asked
      const [byte] = new Uint8Array(buffer, byteLength - 1, 1)
      const firstMs = performance.now() - started
      await restored.ready
      return { restored, byte, thereMs, firstMs }
    })
    const { restored, thereMs, firstMs } = result
    if (checksumOf(restored.regions.main.buffer) !== checksum) throw new Error('other bytes have come back')
    restored.close()
    await archive.close()
    return { ms, thereMs, firstMs, requestMs: await requestMs(options), madeBytes: byteLength }
  },

  async 'the SDK'({ server, bucket, round, directory, byteLength, checksum }, tell) {
    const { sdk, client } = await clientOf(server)
    const at = { Bucket: bucket, Key: `sdk/${round}` }
    const path = join(directory, 'fetched')
    const file = await open(path, 'w+')
    const { ms } = await timed(tell, () =>
      inParallel(Math.ceil(byteLength / PART), async (part) => {
        const start = part * PART
        const Range = `bytes=${start}-${Math.min(byteLength, start + PART) - 1}`
        const { Body } = await client.send(new sdk.GetObjectCommand({ ...at, Range }))
        const bytes = await Body.transformToByteArray()
        await file.write(bytes, 0, bytes.length, start)
      }),
    )
    let sum = 0
    const piece = Buffer.alloc(64 * MIB)
    for (let at = 0; at < byteLength; ) {
      const { bytesRead } = await file.read(piece, 0, piece.length, at)
      sum = crc32(piece.subarray(0, bytesRead), sum)
      at += bytesRead
    }
    await file.close()
    rmSync(path)
    if (sum !== checksum) throw new Error('other bytes have come back')
    return ms
  },
}

export const scenarios = {
  /** Creates the bucket, and the file that the SDK sends. Returns the checksum of the bytes. */
  async prepare({ server, bucket, byteLength, seed, path }) {
    const { sdk, client } = await clientOf(server)
    await client.send(new sdk.CreateBucketCommand({ Bucket: bucket }))
    const { buffer } = filledRegion(byteLength, seed)
    const file = await open(path, 'w')
    for (let at = 0; at < byteLength; at += 64 * MIB)
      await file.write(new Uint8Array(buffer, at, Math.min(64 * MIB, byteLength - at)))
    await file.sync()
    await file.close()
    return checksumOf(buffer)
  },
  send: ({ way, ...options }, tell) => sending[way](options, tell),
  fetch: ({ way, ...options }, tell) => fetching[way](options, tell),
}

/**
 * Duration of a method in milliseconds, and the peak of its additional memory; undefined if it
 * failed.
 */
const watched = async (skipped, scenario, options) => {
  let watch
  const onTold = (message, pid) => {
    if (message === 'ready') watch = new MemoryWatch(pid)
    else if (message === 'begin') watch.begin()
    else watch.end()
  }
  const what = `${scenario}: ${options.way}`
  const limits = { onTold, timeoutMs: PATIENCE_MS }
  const took = await tryScenario(skipped, what, import.meta.url, scenario, options, limits)
  if (took === undefined) return undefined
  const { madeBytes = 0, ...rest } = typeof took === 'number' ? { ms: took } : took
  return { ...rest, peakBytes: (watch?.end().peakBytes ?? Number.NaN) - madeBytes }
}

const byTurns = (ways, round) => (round % 2 === 0 ? ways : ways.toReversed())

const measureOn = async (server, settings, { seed, directory, note, skipped }) => {
  const { rounds } = settings
  const byteLength = settings.largestGiB * GIB
  const options = { server, bucket: 'bench', byteLength, seed, directory, path: join(directory, 'bytes') }
  note('storage: making the bytes')
  const limits = { timeoutMs: PATIENCE_MS }
  const checksum = await tryScenario(skipped, 'the bytes', import.meta.url, 'prepare', options, limits)
  if (checksum === undefined) return []
  const measured = { send: [], fetch: [] }
  for (let round = 0; round < rounds; round++) {
    for (const [scenario, ways] of Object.entries({ send: sending, fetch: fetching })) {
      note(`storage: ${scenario}, round ${round + 1} of ${rounds}`)
      const pair = {}
      for (const way of byTurns(Object.keys(ways), round)) {
        await warmMemory(byteLength)
        pair[way] = await watched(skipped, scenario, { ...options, way, round, checksum })
        // Data that was not sent cannot be fetched.
        if (pair[way] === undefined) return rowsOf(measured, byteLength)
      }
      measured[scenario].push(pair)
    }
  }
  return rowsOf(measured, byteLength)
}

/**
 * Duration of the first touch of a page, compared with one request, and the rate compared with that
 * of a complete restore.
 */
const lazilyOf = (pairs) => {
  const middle = (values) =>
    quantile(
      values.sort((a, b) => a - b),
      0.5,
    )
  return {
    thereMs: middle(pairs.map((pair) => pair[lazily].thereMs)),
    firstMs: middle(pairs.map((pair) => pair[lazily].firstMs)),
    requestMs: middle(pairs.map((pair) => pair[lazily].requestMs)),
    toEager: middle(pairs.map((pair) => pair[fresh].ms / pair[lazily].ms)),
  }
}

/**
 * A row for each method: its duration, and its rate compared with that of the SDK in the same pair.
 */
const rowsOf = (measured, byteLength) =>
  Object.entries(measured).flatMap(([scenario, pairs]) => {
    const ways = Object.keys(pairs[0] ?? {}).sort()
    return ways.map((way) => {
      const toSdk = pairs.map((pair) => pair['the SDK'].ms / pair[way].ms).sort((a, b) => a - b)
      return {
        scenario,
        way,
        byteLength,
        ms: summary(pairs.map((pair) => pair[way].ms)),
        toSdk: { min: toSdk[0], p50: quantile(toSdk, 0.5), max: toSdk.at(-1) },
        peakBytes: Math.max(...pairs.map((pair) => pair[way].peakBytes)),
        ...(way === lazily && lazilyOf(pairs)),
      }
    })
  })

const runServer = (args, gib) => {
  const { status, error, stdout, stderr } = spawnSync(script, args, {
    encoding: 'utf8',
    timeout: START_PATIENCE_MS,
    env: { ...process.env, ...(gib && { S3_SERVER_GIB: String(gib) }) },
  })
  if (status === 0) return stdout
  throw new Error(error?.message ?? stderr.trim().split('\n').at(-1))
}

const measure = async (settings, context) => {
  const { rounds, largestGiB } = settings
  const { directory: parent, note, skipped } = context
  const byteLength = largestGiB * GIB
  // The data sent by each method in each round, the file, and one in the spool.
  const need = { memory: 1.5 * byteLength, disk: (3 * rounds + 3) * byteLength }
  const reason = whyNoRoom(parent, need)
  if (reason !== undefined) {
    skipped.push({ what: `memory of ${size(byteLength)}`, reason })
    return []
  }
  const directory = join(parent, 'storage')
  mkdirSync(directory)
  const home = join(directory, 'server')
  const kill = () => runServer(['kill', home])
  // Also if the bench is interrupted: before its directory is removed.
  process.prependOnceListener('SIGINT', kill).prependOnceListener('SIGTERM', kill)
  note('storage: starting the server')
  try {
    const server = JSON.parse(runServer(['start', home], Math.ceil(16 + 4 * rounds * largestGiB)))
    return await measureOn(server, settings, { ...context, directory })
  } catch (error) {
    // It needs radosgw, ceph-mon and ceph-osd.
    skipped.push({ what: 'everything', reason: error.message })
    return []
  } finally {
    process.off('SIGINT', kill).off('SIGTERM', kill)
    kill()
  }
}

const lazyTable = ({ byteLength, thereMs, firstMs, requestMs, toEager }) => ({
  title: `Memory at once, ${size(byteLength)}`,
  columns: [
    'the memory, ms',
    'first byte of the last page, ms',
    'one request for a block, ms',
    'all of it, to eagerly into fresh memory',
  ],
  rows: [[number(thereMs), number(firstMs), number(requestMs), ratio(toEager, 1)]],
  note: 'Medians. The memory is there when manifest, lease and index have been read, and a thread of its own has started. The first touch comes right after the restore, beside what is fetched in the background.',
})

const titles = { send: 'Into a bucket', fetch: 'From a bucket into memory' }

const table = (scenario, rows, { rounds }) => ({
  title: `${titles[scenario]}, ${size(rows[0].byteLength)}`,
  columns: ['way', 'median, s', 'MB/s', 'to the SDK', 'least', 'most', 'extra memory, MiB'],
  rows: rows.map(({ way, byteLength, ms, toSdk, peakBytes }) => [
    way,
    number(ms.p50 / 1000),
    number(byteLength / 1000 / ms.p50),
    ratio(toSdk.p50, 1),
    ratio(toSdk.min, 1),
    ratio(toSdk.max, 1),
    number(peakBytes / MIB),
  ]),
  note: `Medians of ${rounds} pairs, by turns; ratios of rates within each pair. Frame and file are in the page cache; the SDK fetches into a file. It sends and fetches in parts of ${size(PART)}, ${PARTS_AT_ONCE} at a time. Extra memory: the most of all rounds, beside what the process had before.`,
})

export const bench = {
  name: 'storage',
  title: 'Memory into a bucket and back',
  about: 'Captures into a bucket and restores from there, beside the official client with files.',
  settings: {
    full: { largestGiB: 2, rounds: 3 },
    quick: { largestGiB: 1 / 8, rounds: 2 },
  },
  measure,
  tables: (result) => [
    ...Object.keys(titles).flatMap((scenario) => {
      const rows = result.rows.filter((row) => row.scenario === scenario)
      return rows.length === 0 ? [] : [table(scenario, rows, result.settings)]
    }),
    ...result.rows.filter(({ firstMs }) => firstMs !== undefined).map(lazyTable),
    goalsTable({ storage: result }, 'storage'),
  ],
  plots: () => [],
}

runIfMain(import.meta.url, bench)
