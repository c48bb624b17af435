/**
 * Promise: without `/proc` or `/sys`, and in a Node that loads no addon, messages say what is
 * missing and how to fix it, and claim nothing that cannot be known (I11). Proved by removing each
 * of them.
 */

import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { expect, type TestContext, test } from 'vitest'
import { needsRoot, needsTools } from '../support/needs.js'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const script = fileURLToPath(new URL('fixtures/without-mounts.sh', import.meta.url))
const main = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))
const library = new URL('../../dist/index.js', import.meta.url).href

function runWithout(context: TestContext, mounts: readonly string[], command: string) {
  needsRoot(context, 'it takes mounts away')
  needsTools(context, 'unshare')
  const args = ['-m', 'sh', script, command, ...mounts]
  const { status, stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8' })
  if (status === 125) context.skip(`mounts cannot be taken away here: ${stderr}`)
  return { status, said: `${stdout}${stderr}`.replace(/\s+/g, ' ') }
}

const doctor = (): string => `'${process.execPath}' '${main}' doctor --dir '${inDirectory()}'`

test('doctor without /proc', (context) => {
  const { status, said } = runWithout(context, ['/proc'], doctor())
  expect({ said, status }).toMatchObject({ status: 0 })
  expect(said).toMatch(/\/proc is not mounted.*mount -t proc/)
})

test('doctor without /sys', (context) => {
  const { status, said } = runWithout(context, ['/sys'], doctor())
  expect({ said, status }).toMatchObject({ status: 0 })
  expect(said).toMatch(/\/sys is not mounted.*mount -t sysfs/)
  expect(said).not.toMatch(/huge pages are off/)
})

test('snapshot() without /proc works, or says what is missing', (context) => {
  const program = `
    import('${library}')
      .then(({ Region, snapshot }) => snapshot(Region.allocate(4096), '${inDirectory('file')}').done)
      .then(() => console.log('done'), ({ code, message }) => console.log(code, message))`
  const { said } = runWithout(context, ['/proc'], `'${process.execPath}' -e "${program}"`)
  expect(said).toMatch(/^done|ERR_STILLFRAME_IO.*\/proc is not mounted.*mount -t proc/)
})

test.each(['--no-addons', 'permission'])('Node that loads no addon (%s)', (how) => {
  const permission = process.allowedNodeEnvironmentFlags.has('--permission')
    ? '--permission'
    : '--experimental-permission'
  const flags = how === 'permission' ? [permission, '--allow-fs-read=*'] : [how]
  const { status, stderr } = spawnSync(process.execPath, [...flags, '--no-warnings', main, 'doctor'], {
    encoding: 'utf8',
  })
  expect(stderr).toMatch(/does not allow addons.*--allow-addons.*ERR_STILLFRAME_ABI/)
  expect(status).toBe(1)
})
