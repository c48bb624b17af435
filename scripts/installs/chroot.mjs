// In the smallest Debian that debootstrap makes, where nothing can compile, an ordinary user and
// root install the tarball with npm and use it.

import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { locate, succeed } from './tools.mjs'

const install = [
  'install',
  '--ignore-scripts',
  '--no-audit',
  '--no-fund',
  '--loglevel=error',
  './stillframe.tgz',
]

/** The commands that run there. */
const commands = `set -eu
for tool in cc gcc g++ c++ clang make python3; do
  if command -v $tool; then echo "$tool is there" >&2; exit 1; fi
done
id -un
cd ~/consumer
npm ${install.join(' ')} --offline
node esm.mjs
node commonjs.cjs
npx --no-install stillframe doctor > doctor.txt || { cat doctor.txt >&2; exit 1; }
`

/** Runs as the first process of its namespaces, so that nothing stays mounted or running. */
const enter = `set -eu
mount --bind "$2" "$1/home/newcomer"
mount --bind "$3" "$1/usr/local"
mount -t proc proc "$1/proc"
exec chroot --userspec="$4" "$1" env -i HOME=/home/newcomer USER="$4" PATH=/usr/local/bin:/usr/bin:/bin \\
  npm_config_cache=/home/newcomer/npm-cache sh -c "$5"`

export async function tryChroot(tools, table) {
  const missing = process.getuid() !== 0 ? 'root' : ['debootstrap', 'unshare'].find((name) => !isThere(name))
  if (missing) throw new Error(`the part "chroot" needs ${missing}; --only managers,runners leaves it out`)
  const debian = makeDebian(tools)
  for (const version of tools.nodes) {
    const local = mkdtempSync(path.join(tools.work, 'local-'))
    chmodSync(local, 0o755)
    makeLocal(tools, version, local)
    for (const [user, name] of [
      ['newcomer', 'An ordinary user'],
      ['root', 'root'],
    ])
      await table.fill(name, version, () => tryAs(tools, version, { debian, local, user }))
  }
}

function tryAs(tools, version, { debian, local, user }) {
  const home = mkdtempSync(path.join(tools.work, 'home-'))
  const consumer = path.join(home, 'consumer')
  mkdirSync(consumer)
  tools.fillProject(consumer)
  // Fills npm's cache from the registry, since inside the chroot npm has no network settings.
  const filled = tools.project('cache')
  const npm = path.join(tools.npm(version), 'bin/npm-cli.js')
  const variables = { npm_config_cache: path.join(home, 'npm-cache') }
  tools.run(version, filled, [npm, ...install], variables)
  rmSync(filled, { recursive: true })
  // The user of this name has the same number in every such Debian.
  if (user !== 'root') succeed('chown', ['-R', '1000:1000', home], {})
  const namespaces = ['--mount', '--pid', '--fork', '--kill-child']
  const inside = ['sh', '-c', enter, 'sh', debian, home, local, user, commands]
  const printed = succeed('unshare', [...namespaces, ...inside], {})
  rmSync(home, { recursive: true })
  if (!printed.startsWith(`${user}\n`) || printed.match(/^works$/gm)?.length !== 2)
    throw new Error(`it printed: ${printed}`)
}

/** Created once; nothing writes into it. Node 26 itself needs libatomic. */
function makeDebian(tools) {
  const debian = path.join(tools.home, 'debian')
  if (existsSync(debian)) return debian
  const unfinished = mkdtempSync(path.join(tools.home, 'debootstrap-'))
  try {
    succeed('debootstrap', ['--variant=minbase', '--include=libatomic1', 'bookworm', unfinished], {
      timeout: 1_200_000,
    })
    succeed('chroot', [unfinished, 'useradd', '--create-home', '--uid', '1000', 'newcomer'], {})
    chmodSync(unfinished, 0o755)
    renameSync(unfinished, debian)
  } finally {
    rmSync(unfinished, { recursive: true, force: true })
  }
  return debian
}

/** Creates /usr/local with Node and npm, as from an archive of nodejs.org. */
function makeLocal(tools, version, local) {
  mkdirSync(path.join(local, 'bin'))
  mkdirSync(path.join(local, 'lib/node_modules'), { recursive: true })
  cpSync(path.join(tools.node(version), 'bin/node'), path.join(local, 'bin/node'))
  cpSync(tools.npm(version), path.join(local, 'lib/node_modules/npm'), { recursive: true })
  for (const name of ['npm', 'npx'])
    symlinkSync(`../lib/node_modules/npm/bin/${name}-cli.js`, path.join(local, 'bin', name))
}

function isThere(program) {
  try {
    return locate(program) !== undefined
  } catch {
    return false
  }
}
