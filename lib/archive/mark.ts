/**
 * `archive.json` marks a directory as an archive. It has the version of the archive and the
 * retention rules of its writer, from which a reader can tell why a frame is kept.
 *
 *   {"stillframeArchive":1,"retention":{"last":3,"within":"7d"}}
 */

import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { StillframeError } from '../base/errors.js'
import { fromFile, replaceFile, syncDirectory } from '../files/durable-file.js'
import { markName } from './names.js'
import { checkRetention, type Retention } from './options.js'
import type { RetentionRules } from './retention.js'

const version = 1

export interface Mark {
  /** Undefined if the writer prunes nothing by itself. */
  readonly retention: RetentionRules | undefined
}

/**
 * Undefined if the directory is not an archive. @throws StillframeError `ERR_STILLFRAME_FORMAT` or
 * `VERSION`.
 */
export async function readMark(directory: string): Promise<Mark | undefined> {
  const path = join(directory, markName)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw fromFile(error, path)
  }
  const { stillframeArchive: found, retention } = membersOf(text)
  if (found === version) return { retention: rulesIn(retention) }
  if (typeof found === 'number' && found > version) {
    throw new StillframeError(
      'ERR_STILLFRAME_VERSION',
      `${path}: the archive has version ${found}, and this version of stillframe supports ${version}. Use ` +
        'a newer stillframe',
      { path },
    )
  }
  throw new StillframeError(
    'ERR_STILLFRAME_FORMAT',
    `${path}: this file does not mark an archive. Check the path`,
    { path },
  )
}

export async function writeMark(directory: string, { retention }: Mark): Promise<void> {
  await replaceFile(join(directory, markName), textOf({ retention }))
  await syncDirectory(directory)
}

export function isSameMark(one: Mark, other: Mark): boolean {
  return textOf(one) === textOf(other)
}

function textOf({ retention }: Mark): string {
  const members = { stillframeArchive: version, ...(retention && { retention: asOptions(retention) }) }
  return `${JSON.stringify(members)}\n`
}

/** The rules in the form in which a caller would write them. */
export function asOptions({ within, ...counts }: RetentionRules): Retention {
  // A duration in milliseconds is a number, not a string with a unit.
  return { ...counts, ...(within && { within: within.text.endsWith('ms') ? within.ms : within.text }) }
}

function membersOf(text: string): Record<string, unknown> {
  try {
    return (JSON.parse(text) as Record<string, unknown> | null) ?? {}
  } catch {
    return {}
  }
}

/** Ignores rules of a newer version, which this version cannot read. Nothing is pruned by them. */
function rulesIn(retention: unknown): RetentionRules | undefined {
  try {
    return retention === undefined ? undefined : checkRetention(retention, 'retention')
  } catch {
    return undefined
  }
}
