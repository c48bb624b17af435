#!/usr/bin/env node
// Compiles the addons of a clone unless they are up to date. Package managers run it after `npm ci`
// or `npm install` in a clone, and before they make a package of one:
//
//   node scripts/prepare.mjs
//
// Compiler output is shown only on failure. An install from git does not run `npm pack`, so this
// script adds what `npm pack` would add to a package.

import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import process from 'node:process'
import { whyNotAsBuilt } from './built-addons.mjs'

const require = createRequire(import.meta.url)
process.chdir(path.dirname(import.meta.dirname))

if (process.platform === 'linux') {
  compile()
  if (isPackaged()) run(['scripts/prepack.mjs'])
} else {
  console.log(`stillframe: nothing to compile, since there is no addon for ${process.platform}`)
}

function compile() {
  // The sources of xxHash and zstd come in packages.
  const reason = whyNotAsBuilt(['package-lock.json'])
  if (reason === undefined) return
  const started = performance.now()
  console.log(`stillframe: compiling the addons, which takes a minute or two (${reason})`)
  run([require.resolve('node-gyp/bin/node-gyp.js'), 'rebuild', '-j', 'max', ...ownHeaders()], () => {
    console.error('stillframe: compiling the addons failed. It needs a C++20 compiler, make and Python 3.')
  })
  console.log(`stillframe: compiled in ${Math.round((performance.now() - started) / 1000)} s`)
}

/** The headers that came with this Node, if any, save a download. */
function ownHeaders() {
  const home = path.dirname(path.dirname(process.execPath))
  return existsSync(path.join(home, 'include/node/node_api.h')) ? [`--nodedir=${home}`] : []
}

/**
 * npm sets a variable when it makes a package; other package managers make a package of every clone
 * that they prepare, in their caches.
 */
function isPackaged() {
  const { npm_package_resolved: resolved, npm_config_user_agent: manager = 'npm' } = process.env
  return resolved !== undefined || !manager.startsWith('npm')
}

function run(script, onFailure) {
  const { status, output, error } = spawnSync(process.execPath, script, {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  })
  if (status === 0) return
  console.error(error ?? output.join(''))
  onFailure?.()
  process.exit(1)
}
