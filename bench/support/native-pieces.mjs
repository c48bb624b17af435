// Runs bench/native/pieces.cc, which is compiled with the objects of the addon in build/.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
const require = createRequire(import.meta.url)
const libraries = ['stillframe_core.a', 'stillframe_zstd.a'].map((name) =>
  join(root, 'build/Release/obj.target', name),
)

/** The reason why the pieces cannot be measured here; undefined if they can. */
export const whyNoPieces = async () => {
  if (!libraries.every((file) => existsSync(file)))
    return 'the objects of the addon are missing: npm run build:native'
  try {
    await run('g++', ['--version'])
  } catch {
    return 'there is no g++'
  }
  return undefined
}

/** A map from the name of a piece to `{ unit, value }`. GB/s are 10^9 bytes per second. */
export const measurePieces = async (byteLength, directory) => {
  const program = join(directory, 'pieces')
  const headers = [
    join(root, 'native'),
    join(dirname(require.resolve('xxhash-addon/package.json')), 'xxHash'),
    join(dirname(require.resolve('zstd-napi/package.json')), 'deps/zstd/lib'),
  ]
  await run('g++', [
    ...['-O3', '-std=c++20', '-fno-exceptions', '-pthread'],
    ...headers.flatMap((name) => ['-I', name]),
    ...[join(root, 'bench/native/pieces.cc'), '-o', program, ...libraries],
  ])
  const { stdout } = await run(program, [String(byteLength), directory])
  const lines = stdout.trim().split('\n')
  return new Map(lines.map((line) => JSON.parse(line)).map(({ what, ...rest }) => [what, rest]))
}
