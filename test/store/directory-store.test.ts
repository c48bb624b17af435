/**
 * Promise: a directory is an object store like any other. Objects that were put there are on disk,
 * killed writers leave nothing permanent, and nothing outside the directory is read or written
 * through symbolic links.
 *
 * Proved by the tests that all stores run, by the order of system calls in a trace of strace, by
 * killing a writer, and by links and other obstacles.
 */

import { mkdirSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { expect, test } from 'vitest'
import { directoryStore } from '../../lib/archive/index.js'
import { rejectionOf } from '../support/expect-error.js'
import { startFixture } from '../support/fixture.js'
import { needsStrace } from '../support/needs.js'
import { callsOf } from '../support/power-loss.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { bytes, chunks, digest, keysOf, testContract, text } from './contract.js'

const inDirectory = useTemporaryDirectory()
const place = () => inDirectory('store')
const putter = new URL('fixtures/putter.mjs', import.meta.url)
const written = () => readdirSync(inDirectory('store/+tmp'))

testContract(async () => directoryStore(place()))

test('an object is a file by its key, and what is no key is no object', async () => {
  const store = directoryStore(pathToFileURL(place()))
  await store.put('a/b', bytes('content'))
  expect(readFileSync(inDirectory('store/a/b'), 'utf8')).toBe('content')
  writeFileSync(inDirectory('store/a/c'), 'from elsewhere')
  writeFileSync(inDirectory('store/a/no key'), '')
  mkdirSync(inDirectory('store/no key'))
  writeFileSync(inDirectory('store/no key/d'), '')
  expect(await keysOf(store, '')).toEqual(['a/b', 'a/c'])
  expect(text(await store.get('a/c'))).toBe('from elsewhere')
})

test('a store in a directory that is not there is empty, and is not made by looking into it', async () => {
  const store = directoryStore(place())
  expect(await store.head('a')).toBeUndefined()
  expect(await keysOf(store, '')).toEqual([])
  await store.delete('a')
  expect((await rejectionOf(store.get('a'))).code).toBe('ERR_STILLFRAME_NOT_FOUND')
  expect(readdirSync(inDirectory())).toEqual([])
  const nowhere = directoryStore(inDirectory('not/there'))
  expect(await rejectionOf(nowhere.put('a', bytes('a')))).toMatchObject({
    code: 'ERR_STILLFRAME_IO',
    errnoName: 'ENOENT',
  })
})

test('after failures and successes nothing is left but objects', async () => {
  const store = directoryStore(place())
  await store.put('a', bytes('a'))
  await rejectionOf(store.put('a', bytes('b'), { ifAbsent: true }))
  await rejectionOf(store.put('a', bytes('b'), { ifMatch: 'x' }))
  await rejectionOf(store.upload('a', chunks(bytes('b')), { size: 5 }))
  await store.put('b/c/d', bytes('a'))
  await store.delete('b/c/d')
  expect(written()).toEqual([])
  expect(readdirSync(place()).sort()).toEqual(['+lock', '+tmp', 'a'])
})

test('a key that another one goes on from with a slash is in the way, and is told so', async () => {
  const store = directoryStore(place())
  await store.put('a/b', bytes('a'))
  await store.put('c', bytes('c'))
  for (const key of ['a', 'c/d', 'c/d/e']) {
    for (const options of [{}, { ifAbsent: true }]) {
      const { code, message } = await rejectionOf(store.put(key, bytes('x'), options))
      if (key === 'a' && options.ifAbsent) expect(code).toBe('ERR_STILLFRAME_EXISTS')
      else expect([code, message.includes('is in the way')]).toEqual(['ERR_STILLFRAME_IO', true])
    }
    expect(await store.head(key)).toBeUndefined()
    await store.delete(key)
  }
  expect(await keysOf(store, '')).toEqual(['a/b', 'c'])
})

test('symbolic links below the directory are not followed', async () => {
  mkdirSync(inDirectory('outside'))
  writeFileSync(inDirectory('outside/secret'), 'secret')
  const store = directoryStore(place())
  await store.put('a', bytes('a'))
  symlinkSync(inDirectory('outside'), inDirectory('store/linked'))
  symlinkSync(inDirectory('outside/secret'), inDirectory('store/link'))
  const operations = [
    () => store.get('linked/secret'),
    () => store.get('link'),
    () => store.head('link'),
    () => store.put('linked/new', bytes('x')),
    () => store.put('linked/new/deeper', bytes('x'), { ifAbsent: true }),
    () => store.delete('linked/secret'),
    () => store.delete('link'),
  ]
  for (const operation of operations) {
    const { code, message } = await rejectionOf(operation())
    expect([code, message.includes('symbolic link')]).toEqual(['ERR_STILLFRAME_IO', true])
  }
  // The link itself is replaced, not its target.
  await store.put('link', bytes('x'))
  expect(text(await store.get('link'))).toBe('x')
  expect(readFileSync(inDirectory('outside/secret'), 'utf8')).toBe('secret')
  expect(readdirSync(inDirectory('outside'))).toEqual(['secret'])
  expect(await keysOf(store, '')).toEqual(['a', 'link'])
})

test('the directory itself may be reached by a symbolic link', async () => {
  mkdirSync(inDirectory('real'))
  symlinkSync(inDirectory('real'), place())
  const store = directoryStore(place())
  await store.put('a/b', bytes('content'))
  expect(text(await store.get('a/b'))).toBe('content')
  expect(await keysOf(store, 'a/')).toEqual(['a/b'])
})

test('an object whose file is cut short while it is read is an error, and never fewer bytes', async () => {
  const store = directoryStore(place())
  const content = new Uint8Array(128 * 2 ** 20).fill(0x55)
  await store.put('a', content)
  const got = store.get('a')
  const cut = setInterval(() => truncateSync(inDirectory('store/a'), 10), 1)
  const outcome = await got.then(
    ({ body, size }) => body.length === size && digest(body) === digest(content.subarray(0, size)),
    (error: { code: string }) => error.code === 'ERR_STILLFRAME_IO',
  )
  clearInterval(cut)
  expect(outcome).toBe(true)
})

test('what a killed writer has left goes with the next one, and what a living one writes stays', async () => {
  const fixture = startFixture(putter, [place(), 'hanging'])
  await fixture.report()
  expect(written().length).toBe(1)
  let go = () => {}
  const gate = new Promise<void>((resolve) => {
    go = resolve
  })
  const slow = async function* () {
    yield bytes('slow')
    await gate
  }
  const living = directoryStore(place()).upload('living', slow())
  await expect.poll(() => written().length).toBe(2)
  await directoryStore(place()).put('a', bytes('a'))
  expect(written().length).toBe(2)
  fixture.child.kill('SIGKILL')
  await fixture.end
  await directoryStore(place()).put('a', bytes('a'))
  expect(written().length).toBe(1)
  go()
  await living
  expect(written()).toEqual([])
  expect(await keysOf(directoryStore(place()), '')).toEqual(['a', 'living'])
})

test('directories that become empty are removed under nobody who puts something there', async () => {
  const stores = [directoryStore(place()), directoryStore(place())]
  const work = stores.map(async (store, at) => {
    for (let n = 0; n < 100; n++) {
      await store.put(`d/e/${at}`, bytes('x'), { ifAbsent: true })
      await store.delete(`d/e/${at}`)
    }
  })
  await Promise.all(work)
  expect(readdirSync(place()).sort()).toEqual(['+lock', '+tmp'])
})

test('before an object is told to be there, its bytes are on the disk before its name, and its name is', async (context) => {
  needsStrace(context)
  const fixture = startFixture(putter, [place(), 'all'], {
    wrapper: [
      ...['strace', '-f', '-y', '-qq', '-s', '1000', '-o', inDirectory('trace')],
      ...[
        '-e',
        'trace=write,pwrite64,fsync,fdatasync,link,linkat,rename,renameat,renameat2,unlink,unlinkat,mkdir',
      ],
    ],
  })
  expect(await fixture.end).toMatchObject({ status: 0 })
  const calls = callsOf(readFileSync(inDirectory('trace'), 'utf8')).filter((call) => / = (?!-1)/.test(call))
  let from = 0
  const names: string[] = []
  for (const [at, call] of calls.entries()) {
    const [, put] = /^write\(1<.*"put\\":\\"([^\\]+)/.exec(call) ?? []
    const isDeleted = /^write\(1<.*deleted/.test(call)
    if (put === undefined && !isDeleted) continue
    const turn = calls.slice(from, at)
    from = at + 1
    const naming = (name: string) =>
      turn.findLastIndex((it) => it.includes(`"${inDirectory(`store/${name}`)}"`))
    const sync = (name: string, after: number) =>
      turn.findIndex((it, n) => n > after && it.startsWith('fsync(') && it.includes(`<${inDirectory(name)}>`))
    if (put === undefined) {
      const removed = naming('d/e/uploaded')
      expect(turn[removed]).toMatch(/^unlink|^rm/)
      expect(sync('store/d', removed)).toBeGreaterThan(removed)
      continue
    }
    names.push(put)
    const named = naming(put)
    expect(turn[named]).toMatch(put === 'd/absent' ? /^link/ : /^rename/)
    const [, temporary = ''] = /"([^"]*\/\+tmp\/[^"]*)"/.exec(turn[named] ?? '') ?? []
    const lastWrite = turn.findLastIndex((it) => /^p?write/.test(it) && it.includes(temporary))
    const synced = turn.findLastIndex((it) => it.startsWith('fsync(') && it.includes(temporary))
    expect(temporary).not.toBe('')
    expect(lastWrite).toBeGreaterThanOrEqual(0)
    expect(synced).toBeGreaterThan(lastWrite)
    expect(named).toBeGreaterThan(synced)
    const directories = put === 'd/e/uploaded' ? ['store/d/e', 'store/d', 'store'] : ['store/d', 'store']
    for (const directory of directories) expect(sync(directory, named)).toBeGreaterThan(named)
  }
  expect(names).toEqual(['d/absent', 'd/plain', 'd/plain', 'd/e/uploaded'])
})
