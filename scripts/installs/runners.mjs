// Test runners load modules in various ways: in Workers, in processes, in V8 contexts, or through a
// server. Each one runs the same tests, with the settings that docs/BUNDLERS.md shows.

import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { fileOf } from './documented.mjs'

const ignoringScripts = ['--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']

/** The tests, for a runner whose `test()` comes from that module or is a global. */
const tests = (module) => `${module ? `import { test } from '${module}'\n` : ''}
import { memoryKeepsItsInstant, objectsKeepTheirInstant, workersWriteSharedRegions } from './check.mjs'

test('memory', memoryKeepsItsInstant)
test('objects', objectsKeepTheirInstant)
test('shared regions', workersWriteSharedRegions)
`

const files = {
  'node.test.mjs': tests('node:test'),
  'vitest.test.mjs': tests('vitest'),
  // Two files, since Jest runs a single one without workers.
  'jest-one.test.mjs': tests(),
  'jest-two.test.mjs': tests(),
  'jest-import.test.cjs': `test('import()', async () => {
  const { Region } = await import('stillframe')
  const { snapshotState } = await import('stillframe/heap')
  Region.allocate(4096, { shared: true }).close()
  await snapshotState('jest.state', (out) => out.write('x')).done
})
`,
  'jest-require.test.cjs': `const { Region } = require('stillframe')
const { snapshotState } = require('stillframe/heap')
test('require', async () => {
  Region.allocate(4096, { shared: true }).close()
  await snapshotState('jest.state', (out) => out.write('x')).done
})
`,
  'in-worker.mjs': `import { Worker } from 'node:worker_threads'
new Worker('./node.test.mjs').on('exit', (code) => { process.exitCode = code })
`,
  'vite-server.mjs': `import { createServer } from 'vite'
const server = await createServer({ configFile: 'vite.config.mjs', server: { middlewareMode: true, ws: false }, appType: 'custom' })
try {
  await server.ssrLoadModule('/esm.mjs') // prints "works"
} finally {
  await server.close()
}
`,
}

/**
 * The output when the three tests have run, by the first words of a row; Jest has run them twice.
 */
const passed = {
  'node:test': /^. pass 3$/m,
  Vitest: /^ +Tests +3 passed \(3\)$/m,
  'Jest, `import()`': /^Tests: +1 passed, 1 total$/m,
  'Jest, `import`': /^Tests: +6 passed, 6 total$/m,
  'Jest, `require`': /^Tests: +1 passed, 1 total$/m,
  Vite: /^works$/m,
}

const vmModules = { NODE_OPTIONS: '--experimental-vm-modules' }
/** Jest's settings apply to all tests; the shared machine of a check may be slow. */
const jest = ['node_modules/jest/bin/jest.js', '--testTimeout=120000', '--maxWorkers=2']
const vitest = (pool) => [
  'node_modules/vitest/vitest.mjs',
  'run',
  '--testTimeout=120000',
  `--pool=${pool}`,
  'vitest',
]

const runners = [
  ['node:test', { run: ['--test', 'node.test.mjs'] }],
  [
    'node:test, one process',
    {
      // A flag since 22.8, under this name in the first versions.
      run: (major) => [
        '--test',
        `--${major === 22 ? 'experimental-' : ''}test-isolation=none`,
        'node.test.mjs',
      ],
      unless: (major) => major < 22 && 'Node 20 has no such flag',
    },
  ],
  ['node:test in a Worker', { run: ['in-worker.mjs'] }],
  ['Vitest, `threads`', { run: vitest('threads') }],
  ['Vitest, `forks`', { run: vitest('forks') }],
  ['Vitest, `vmThreads`', { run: vitest('vmThreads') }],
  ['Vitest, `vmForks`', { run: vitest('vmForks') }],
  ['Jest, `import`', { run: [...jest, 'jest-one', 'jest-two'], with: vmModules }],
  [
    'Jest, `import`, `workerThreads`',
    { run: [...jest, '--workerThreads', 'jest-one', 'jest-two'], with: vmModules },
  ],
  ['Jest, `import()` in CommonJS', { run: [...jest, 'jest-import'], with: vmModules }],
  [
    'Jest, `require`',
    {
      run: [...jest, 'jest-require'],
      with: vmModules,
      unless: (major) => major < 24 && 'Jest can do it on Node 24.9 and later only',
    },
  ],
  ['Vite, `ssrLoadModule`', { run: ['vite-server.mjs'] }],
]

export async function tryRunners(tools, table) {
  const npm = path.join(tools.packages('npm-11', { npm: '11' }), 'npm/bin/npm-cli.js')
  const reasons = new Set()
  for (const version of tools.nodes) {
    const place = tools.project('runner')
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(place, name), text)
    for (const name of ['jest.config.mjs', 'vite.config.mjs'])
      writeFileSync(path.join(place, name), fileOf(name))
    const packages = ['./stillframe.tgz', 'vitest@4', 'vite@8', 'jest@30']
    tools.run(version, place, [npm, 'install', ...ignoringScripts, ...packages])
    const major = Number(version.split('.')[0])
    for (const [name, { run, with: variables, unless }] of runners) {
      const reason = unless?.(major)
      if (reason) {
        table.put(name, version, '–')
        reasons.add(`${name}: ${reason}`)
        continue
      }
      await table.fill(name, version, () => {
        const printed = tools.run(version, place, typeof run === 'function' ? run(major) : run, variables)
        const [, expected] = Object.entries(passed).find(([beginning]) => name.startsWith(beginning))
        if (!expected.test(printed)) throw new Error(`not all tests have run: ${printed}`)
      })
    }
  }
  for (const reason of reasons) console.log(`left out: ${reason}`)
}
