/**
 * Promise: a process with more rights than the user who started it loads no native code named by
 * its environment. Proved with a Node binary that has a file capability, started by a user without
 * any.
 */

import { spawnSync } from 'node:child_process'
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { needsReadableCheckout, needsRoot, needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const asNobody = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups']
const privileges = new URL('../../dist/addon/privileges.js', import.meta.url).href

/** The value of the variable in a Node process of the user nobody. */
function seenBy(node: string): string {
  writeFileSync(
    inDirectory('ask.mjs'),
    `import { addonVariable } from '${privileges}'\nconsole.log(addonVariable('STILLFRAME_ADDON') ?? 'nothing')`,
  )
  chmodSync(inDirectory('ask.mjs'), 0o644)
  const [command = '', ...args] = asNobody
  const { stdout, stderr } = spawnSync(command, [...args, node, inDirectory('ask.mjs')], {
    encoding: 'utf8',
    env: { STILLFRAME_ADDON: '/tmp/named.node' },
  })
  return `${stdout}${stderr}`.trim()
}

test('STILLFRAME_ADDON is obeyed, but not with capabilities from a file', (context) => {
  needsRoot(context, 'it gives a file a capability')
  needsTools(context, 'setcap', 'setpriv')
  needsReadableCheckout(context, asNobody)
  const node = inDirectory('node')
  copyFileSync(process.execPath, node)
  chmodSync(node, 0o755)
  expect(seenBy(node)).toBe('/tmp/named.node')
  const { status, stderr } = spawnSync('setcap', ['cap_sys_ptrace+ep', node], { encoding: 'utf8' })
  if (status !== 0) context.skip(`files cannot have capabilities here: ${stderr}`)
  expect(seenBy(node)).toBe('nothing')
})
