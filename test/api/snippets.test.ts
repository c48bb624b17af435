/**
 * Promise: every example in the documentation compiles under a user's strictest settings, and
 * README's examples run as they are. Proved by compiling all fences marked `ts` or `js` in all
 * Markdown files, and by running README's.
 */

import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'
import { useTemporaryDirectory } from '../support/temporary-directory.js'

const inDirectory = useTemporaryDirectory()
const root = fileURLToPath(new URL('../..', import.meta.url))

/** Declarations that examples assume: the reader's own memory, names and functions. */
const given = `
declare const vectors: Float32Array, counters: BigUint64Array, region: import('stillframe').Region
declare const byteOffset: number, byteLength: number, path: string
declare const log: { sequence: number }, batches: () => Iterable<object>
declare const store: import('stillframe/archive').ObjectStore
`

const strictest: ts.CompilerOptions = {
  strict: true,
  exactOptionalPropertyTypes: true,
  target: ts.ScriptTarget.ES2023,
  lib: ['lib.es2023.d.ts', 'lib.esnext.disposable.d.ts'],
  types: ['node'],
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
  skipLibCheck: true,
  noEmit: true,
  allowJs: true,
  checkJs: true,
  paths: {
    stillframe: [join(root, 'lib/index.ts')],
    'stillframe/heap': [join(root, 'lib/heap/index.ts')],
    'stillframe/archive': [join(root, 'lib/archive/index.ts')],
    'stillframe/heap/signal': [join(root, 'lib/heap/signal.ts')],
    'stillframe/reader': [join(root, 'lib/reader/index.ts')],
    'stillframe/s3': [join(root, 'lib/s3/index.ts')],
    'stillframe/metrics': [join(root, 'lib/metrics/index.ts')],
  },
}

interface Snippet {
  /** File and line, for failure messages. */
  readonly place: string
  readonly language: 'js' | 'ts'
  readonly text: string
}

function snippetsOf(file: string): Snippet[] {
  const text = readFileSync(join(root, file), 'utf8')
  const fences = text.matchAll(/^ *```(js|ts)(?: [^\n]*)?\n(.*?)^ *```$/gms)
  return [...fences].map(({ index, 1: language, 2: body }) => ({
    place: `${file}:${text.slice(0, index).split('\n').length}`,
    language: language as Snippet['language'],
    text: body as string,
  }))
}

/** Messages of the compiler. Appending `export {}` makes each snippet a module of its own. */
function complaintsAbout(snippets: readonly Snippet[]): string[] {
  const files = new Map([[join(root, 'given.d.ts'), given]])
  for (const { place, language, text } of snippets)
    files.set(join(root, `${place.replace(/[/:]/g, '-')}.m${language}`), `${text}\nexport {}`)
  const host = ts.createCompilerHost(strictest)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (name) => files.has(name) || fileExists(name)
  host.readFile = (name) => files.get(name) ?? readFile(name)
  host.getSourceFile = (name, target, ...rest) => {
    const text = files.get(name)
    return text === undefined ? getSourceFile(name, target, ...rest) : ts.createSourceFile(name, text, target)
  }
  const program = ts.createProgram([...files.keys()], strictest, host)
  return [...files.keys()]
    .map((name) => program.getSourceFile(name) as ts.SourceFile)
    .flatMap((file) => [...program.getSyntacticDiagnostics(file), ...program.getSemanticDiagnostics(file)])
    .filter(({ code, file }) => !(untyped.includes(code) && file?.fileName.endsWith('.mjs')))
    .map(({ file, start, messageText }) => {
      const line = (file?.getLineAndCharacterOfPosition(start ?? 0).line ?? 0) + 1
      return `${file?.fileName} line ${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
    })
}

/** Errors that JavaScript cannot avoid, since it cannot declare the types of parameters. */
const untyped = [7006, 7031]

const documents = [
  ...readdirSync(root),
  ...['docs', 'examples', 'bench'].flatMap((directory) =>
    readdirSync(join(root, directory), { recursive: true, encoding: 'utf8' }).map((name) =>
      join(directory, name),
    ),
  ),
].filter((name) => name.endsWith('.md'))
const snippets = documents.flatMap(snippetsOf)

const mistake = "import { snapshot } from 'stillframe'\nsnapshot(new ArrayBuffer(1), 'x', { engin: 'auto' })"

describe('examples', () => {
  test('are found', () => {
    expect(snippets.length).toBeGreaterThan(6)
    expect(snippets.some(({ place }) => place.startsWith('README.md'))).toBe(true)
  })

  test('compile, and would not with a mistake', () => {
    const wrong = (['js', 'ts'] as const).map((language) => ({ place: 'mistake', language, text: mistake }))
    const complaints = complaintsAbout([...snippets, ...wrong])
    const about = (what: RegExp): string[] => complaints.filter((complaint) => what.test(complaint))
    expect(about(/mistake\.mjs line 2: .*engin/)).toHaveLength(1)
    expect(about(/mistake\.mts line 2: .*engin/)).toHaveLength(1)
    expect(about(/^(?!.*mistake\.m)/)).toEqual([])
  })

  test('of README run as they are, where stillframe is installed', () => {
    mkdirSync(inDirectory('node_modules'))
    symlinkSync(root, inDirectory('node_modules/stillframe'))
    const run = ({ text }: Snippet): string => {
      writeFileSync(inDirectory('example.mjs'), text)
      const { stdout, stderr } = spawnSync(process.execPath, ['example.mjs'], {
        cwd: inDirectory(),
        encoding: 'utf8',
      })
      return stdout + stderr
    }
    expect(snippets.filter(({ place }) => place.startsWith('README.md')).map(run)).toEqual(['1\n', '', ''])
    expect(readdirSync(inDirectory())).toEqual(
      expect.arrayContaining(['frames', 'scores.stillframe', 'service.heapsnapshot', 'sessions.values']),
    )
  })
})
