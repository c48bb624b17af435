/**
 * Promise: every example in the documentation compiles, as a user with the strictest settings has it. Proved by the
 * compiler, over all fences marked `ts` or `js` in all Markdown files.
 */

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** What examples take for granted: the reader's own memory, names and functions. */
const given = `
declare const vectors: Float32Array, counters: BigUint64Array, region: import('stillframe').Region
declare const byteOffset: number, byteLength: number, path: string
declare const log: { sequence: number }, batches: () => Iterable<object>
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
    'stillframe/heap/signal': [join(root, 'lib/heap/signal.ts')],
  },
}

interface Snippet {
  /** File and line, for the reader of a failure. */
  readonly place: string
  readonly language: 'js' | 'ts'
  readonly text: string
}

function snippetsOf(file: string): Snippet[] {
  const text = readFileSync(join(root, file), 'utf8')
  const fences = text.matchAll(/^ *```(js|ts)\n(.*?)^ *```$/gms)
  return [...fences].map(({ index, 1: language, 2: body }) => ({
    place: `${file}:${text.slice(0, index).split('\n').length}`,
    language: language as Snippet['language'],
    text: body as string,
  }))
}

/** Messages of the compiler, by place. A module of its own each: `export {}` makes it one. */
function complaintsAbout(snippets: readonly Snippet[], options: ts.CompilerOptions): string[] {
  const files = new Map([[join(root, 'given.d.ts'), given]])
  for (const { place, language, text } of snippets)
    files.set(join(root, `${place.replace(/[/:]/g, '-')}.m${language}`), `${text}\nexport {}`)
  const host = ts.createCompilerHost(options)
  const { fileExists, readFile, getSourceFile } = host
  host.fileExists = (name) => files.has(name) || fileExists(name)
  host.readFile = (name) => files.get(name) ?? readFile(name)
  host.getSourceFile = (name, target, ...rest) => {
    const text = files.get(name)
    return text === undefined ? getSourceFile(name, target, ...rest) : ts.createSourceFile(name, text, target)
  }
  const program = ts.createProgram([...files.keys()], options, host)
  return ts.getPreEmitDiagnostics(program).map(({ file, start, messageText }) => {
    const line = file === undefined ? 0 : file.getLineAndCharacterOfPosition(start ?? 0).line + 1
    return `${file?.fileName ?? ''} line ${line}: ${ts.flattenDiagnosticMessageText(messageText, '\n')}`
  })
}

const documents = [
  ...readdirSync(root),
  ...['docs', 'examples', 'bench'].flatMap((directory) =>
    readdirSync(join(root, directory), { recursive: true, encoding: 'utf8' }).map((name) =>
      join(directory, name),
    ),
  ),
].filter((name) => name.endsWith('.md'))
const snippets = documents.flatMap(snippetsOf)

describe('examples', () => {
  test('are found', () => {
    expect(snippets.length).toBeGreaterThan(6)
    expect(snippets.some(({ place }) => place.startsWith('README.md'))).toBe(true)
  })

  test('in TypeScript compile', () => {
    const some = snippets.filter(({ language }) => language === 'ts')
    expect(complaintsAbout(some, strictest)).toEqual([])
  })

  // JavaScript cannot say what type an argument has.
  test('in JavaScript compile', () => {
    const some = snippets.filter(({ language }) => language === 'js')
    expect(complaintsAbout(some, { ...strictest, noImplicitAny: false })).toEqual([])
  })

  test('that are wrong would be found', () => {
    const text = "import { snapshot } from 'stillframe'\nsnapshot(new ArrayBuffer(1), 'x', { engin: 'auto' })"
    for (const language of ['js', 'ts'] as const)
      expect(complaintsAbout([{ place: 'wrong', language, text }], strictest).join()).toContain('engin')
  })
})
