// Promise I6: whatever a path leads to, the caller learns what is wrong with it, and each case has
// a distinct error. Proved with restore(), inspect() and verify() on everything that is not a good
// snapshot file.

import { spawnSync } from 'node:child_process'
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  mkdirSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { constants } from 'node:os'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { restore, StillframeError, verify } from 'stillframe'
import { beforeEach, describe, expect, it } from 'vitest'
import { EditableImage, header } from '../support/image-editor.js'
import { needsReadableCheckout, needsRoot, needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'
import { refusalOf, writeSample } from './sample.js'

const inDirectory = useTemporaryDirectory()
let path = ''
beforeEach(() => {
  path = inDirectory('file')
})

/** Writes the sample, changed in one place, with its checksums repaired. */
async function edited(edit: (image: EditableImage) => void): Promise<void> {
  await writeSample(path)
  const image = new EditableImage(path)
  edit(image)
  image.save(path)
}

interface Case {
  what: string
  make: () => unknown
  code: string
  message: RegExp
  errno?: keyof typeof constants.errno
}

const cases: Case[] = [
  { what: 'no file', make: () => {}, code: 'IO', errno: 'ENOENT', message: /cannot open .*ENOENT/ },
  {
    what: 'a directory',
    make: () => mkdirSync(path),
    code: 'IO',
    errno: 'EISDIR',
    message: /is a directory/,
  },
  {
    what: 'a file in the place of a directory',
    make: () => {
      writeFileSync(path, '')
      path += '/file'
    },
    code: 'IO',
    errno: 'ENOTDIR',
    message: /cannot open .*ENOTDIR/,
  },
  {
    what: 'a loop of symbolic links',
    make: () => symlinkSync(path, path),
    code: 'IO',
    errno: 'ELOOP',
    message: /cannot open .*ELOOP/,
  },
  {
    what: 'an empty file',
    make: () => writeFileSync(path, ''),
    code: 'FORMAT',
    message: /is empty.*Check the path/,
  },
  {
    what: 'a text',
    make: () => writeFileSync(path, 'Dear Sir or Madam,\n'),
    code: 'FORMAT',
    message: /not a stillframe snapshot.*Check the path/,
  },
  {
    what: 'a long file of something else',
    make: () => writeFileSync(path, Buffer.alloc(1 << 20, 'PK\u0003\u0004')),
    code: 'FORMAT',
    message: /not a stillframe snapshot/,
  },
  {
    what: 'a FIFO',
    make: () => spawnSync('mkfifo', [path]),
    code: 'FORMAT',
    message: /not a regular file/,
  },
  {
    what: 'a device',
    make: () => {
      path = '/dev/zero'
    },
    code: 'FORMAT',
    message: /not a regular file/,
  },
  {
    what: 'a snapshot that is cut off',
    make: async () => {
      await writeSample(path)
      truncateSync(path, 100_000)
    },
    code: 'CORRUPT',
    message: /shorter|truncated/,
  },
  {
    what: 'a snapshot of which only the first bytes are there',
    make: async () => {
      await writeSample(path)
      truncateSync(path, 1000)
    },
    code: 'CORRUPT',
    message: /ends in its header: it is truncated/,
  },
  {
    what: 'a snapshot that is cut off at a page',
    make: async () => {
      await writeSample(path)
      truncateSync(path, 2 * 65536)
    },
    code: 'CORRUPT',
    message: /no trailer at the end: the file is truncated/,
  },
  {
    what: 'a snapshot with bytes added',
    make: async () => {
      await writeSample(path)
      appendFileSync(path, 'one more thing')
    },
    code: 'CORRUPT',
    message: /longer than it was written/,
  },
  {
    what: 'a newer major version',
    make: () => edited((image) => image.bytes.writeUInt16LE(2, header.versionMajor)),
    code: 'VERSION',
    message: /format version 2\.0, and this release reads only up to 1.*newer version of stillframe/,
  },
  {
    what: 'a layout of the future',
    make: () => edited((image) => image.bytes.writeUInt32LE(9, header.layout)),
    code: 'VERSION',
    message: /layout 9.*newer version/,
  },
  {
    what: 'a delta in the layout of full files',
    make: () => edited((image) => image.bytes.fill(1, header.parentId, header.parentId + 16)),
    code: 'CORRUPT',
    message: /names a parent that it cannot have/,
  },
]

describe.each(cases)('$what', ({ make, code, message, errno }) => {
  it('is refused by every function with the same clear error', async () => {
    await make()
    const { errors, report, touched } = await refusalOf(path)
    for (const error of errors) {
      expect(error).toBeInstanceOf(StillframeError)
      expect(error).toMatchObject({ code: `ERR_STILLFRAME_${code}`, path })
      expect(error.message).toMatch(message)
      expect(error.message).toContain(path)
      expect(error.errno).toBe(errno === undefined ? undefined : -constants.errno[errno])
    }
    expect(touched).toBe(false)
    // verify() reports damage; for a file that it cannot judge, it rejects.
    if (code === 'FORMAT' || code === 'CORRUPT') {
      expect(report).toMatchObject({ ok: false, problems: [{ reason: expect.stringMatching(/\w/) }] })
    } else {
      expect(report).toMatchObject({ code: `ERR_STILLFRAME_${code}` })
    }
  })
})

it('no two kinds of trouble are told in the same words', async () => {
  const words = new Map<string, string>()
  for (const { what, make } of cases) {
    path = inDirectory(`file of ${what}`)
    await make()
    const message = ((await refusalOf(path)).errors[0]?.message ?? '').replace(path, '')
    // By kind: the two texts are one kind, and so are the two paths that do not lead to regular
    // files.
    words.set(message, what)
  }
  expect(words.size).toBeGreaterThanOrEqual(cases.length - 2)
})

it('a newer minor version is read', async () => {
  await edited((image) => image.bytes.writeUInt16LE(9, header.versionMinor))
  expect(await verify(path)).toMatchObject({ ok: true, info: { version: { major: 1, minor: 9 } } })
  using restored = await restore(path)
  expect(restored.regions['last']?.byteLength).toBe(1)
})

it('a file of somebody else is an error of permission', async (context) => {
  needsRoot(context, 'to be somebody else')
  needsTools(context, 'setpriv')
  const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
  needsReadableCheckout(context, asNobody)
  await writeSample(path)
  copyFileSync(path, inDirectory('readable'))
  chmodSync(inDirectory('readable'), 0o644)
  const program = `
    import { inspect, restore, verify } from 'stillframe'
    const [secret, readable] = process.argv.slice(-2)
    const attempts = [inspect(secret), restore(secret), verify(secret), inspect(readable)]
    const ends = await Promise.allSettled(attempts)
    console.log(JSON.stringify(ends.map(({ reason }) => reason && [reason.code, reason.errno, reason.message])))
  `
  const node = [process.execPath, '--input-type=module', '-e', program, path, inDirectory('readable')]
  const [command = '', ...args] = [...asNobody, ...node]
  const { stdout, stderr } = spawnSync(command, args, {
    cwd: dirname(dirname(dirname(fileURLToPath(import.meta.url)))),
    encoding: 'utf8',
    timeout: 240_000,
  })
  expect(stderr).toBe('')
  const [inspected, restored, verified, allowed] = JSON.parse(stdout) as unknown[]
  for (const end of [inspected, restored, verified]) {
    expect(end).toEqual([
      'ERR_STILLFRAME_IO',
      -constants.errno.EACCES,
      expect.stringMatching(/cannot open the snapshot file.*EACCES/),
    ])
  }
  expect(allowed).toBeNull()
})
