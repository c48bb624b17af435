// The tools for checks of an installed package: versions of Node, programs from the registry, and
// empty projects where nothing can compile.

import { spawnSync } from 'node:child_process'
import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import process from 'node:process'

const consumer = path.join(import.meta.dirname, 'consumer')
/** On an idle machine, no process needs a tenth of this. */
const timeLimit = 300_000

export class Tools {
  #nodes = new Map()
  #paths = new Map()

  /**
   * @param {{ home: string, work: string, nodes: string[], tarball: string }} places - `home` is
   *   kept, `work` is not.
   */
  constructor({ home, work, nodes, tarball }) {
    this.home = home
    this.work = work
    this.nodes = nodes
    this.tarball = tarball
  }

  /** The package with that version of Node. */
  node(version) {
    if (!this.#nodes.has(version)) {
      const name = `node-linux-${process.arch}`
      const modules = this.packages(`node-${version}`, { [name]: version })
      this.#nodes.set(version, path.join(modules, name))
    }
    return this.#nodes.get(version)
  }

  /** The npm that comes with that version of Node. */
  npm(version) {
    const major = version.startsWith('20') ? '10' : '11'
    return path.join(this.packages(`npm-${major}`, { npm: major }), 'npm')
  }

  /** The node_modules directory of packages that are kept for later runs. */
  packages(name, dependencies) {
    const place = path.join(this.home, name)
    const manifest = JSON.stringify({ private: true, dependencies })
    const done = path.join(place, 'installed.json')
    if (!existsSync(done) || readFileSync(done, 'utf8') !== manifest) {
      mkdirSync(place, { recursive: true })
      writeFileSync(path.join(place, 'package.json'), manifest)
      const words = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
      succeed('npm', words, { cwd: place })
      writeFileSync(done, manifest)
    }
    return path.join(place, 'node_modules')
  }

  /** An empty project with the tarball and the programs that use it. */
  project(name) {
    const place = mkdtempSync(path.join(this.work, `${name}-`))
    this.fillProject(place)
    return place
  }

  fillProject(place) {
    const manifest = { name: 'consumer', version: '1.0.0', license: 'MIT', private: true }
    writeFileSync(path.join(place, 'package.json'), JSON.stringify(manifest))
    copyFileSync(this.tarball, path.join(place, 'stillframe.tgz'))
    cpSync(consumer, place, { recursive: true })
  }

  /** Runs a script in a project with that version of Node; returns its output. */
  run(version, place, words, variables = {}) {
    return succeed(path.join(this.node(version), 'bin/node'), words, {
      cwd: place,
      env: { ...this.environment(version), ...variables },
    })
  }

  /** Runs a program that must print that everything works. */
  check(version, place, words, variables) {
    const printed = this.run(version, place, words, variables)
    if (!/^works$/m.test(printed)) throw new Error(`${words.join(' ')} printed: ${printed}`)
  }

  /** An environment in which nothing compiles, and files of the checkout do not help. */
  environment(version) {
    const env = {
      ...process.env,
      NO_COLOR: '1',
      PATH: this.#pathOf(version),
      npm_config_cache: path.join(this.home, 'npm-cache'),
    }
    for (const name of Object.keys(env))
      if (/^(STILLFRAME_|NODE_(PATH|OPTIONS)$|CC$|CXX$|npm_(package|lifecycle)_|INIT_CWD$)/.test(name))
        delete env[name]
    return env
  }

  #pathOf(version) {
    if (!this.#paths.has(version)) {
      const place = path.join(this.work, `bin-${version}`)
      mkdirSync(place)
      for (const tool of [
        'sh',
        'env',
        'uname',
        'git',
        'tar',
        'gzip',
        'sed',
        'dirname',
        'basename',
        'readlink',
      ])
        symlinkSync(locate(tool), path.join(place, tool))
      symlinkSync(path.join(this.node(version), 'bin/node'), path.join(place, 'node'))
      this.#paths.set(version, place)
    }
    return this.#paths.get(version)
  }
}

/** The path of a program. */
export function locate(program) {
  const found = process.env.PATH.split(':')
    .map((directory) => path.join(directory, program))
    .find((file) => existsSync(file))
  if (found === undefined) throw new Error(`${program} is not installed`)
  return found
}

/** Returns the output of a program; throws if it fails. */
export function succeed(command, words, options) {
  const { status, signal, stdout, stderr, error } = spawnSync(command, words, {
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
    timeout: timeLimit,
    killSignal: 'SIGKILL',
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  })
  if (status === 0) return stdout + stderr
  const why = error ?? `${signal ?? `status ${status}`}\n${stdout.slice(-4000)}${stderr.slice(-4000)}`
  throw new Error(`${command} ${words.join(' ')}: ${why}`)
}
