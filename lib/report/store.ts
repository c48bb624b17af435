/**
 * Reports an archive in an object store from its manifest. Its objects are fetched only for
 * verification.
 */

import { openArchive } from '../archive/archive.js'
import type { Frame } from '../archive/frame.js'
import type { EncryptionOptions } from '../store/encryption.js'
import type { ObjectStore } from '../store/store.js'
import type { ArchiveReportOptions } from './archive.js'
import type { ReportData, ReportFrame } from './data.js'
import { leftOut } from './examine.js'

export interface StoreReportOptions extends ArchiveReportOptions {
  /** Display name of the store. */
  place: string
  encryption?: EncryptionOptions | undefined
}

/**
 * Rejects with StillframeError `NOT_FOUND` if there is no archive, or with `KEY`, `CORRUPT` or
 * `IO`.
 */
export async function reportStore(store: ObjectStore, options: StoreReportOptions): Promise<ReportData> {
  const { place, retention, encryption, signal, onProgress } = options
  await using archive = await openArchive(store, {
    readOnly: true,
    ...(retention !== undefined && { retention }),
    ...(encryption !== undefined && { encryption }),
  })
  const damage = new Map<string, string>()
  if (options.verify) {
    const { frames } = await archive.verify({
      signal,
      onProgress: ({ framesDone, framesTotal }) => onProgress?.('checking', framesDone, framesTotal),
    })
    for (const { frame, problems } of frames)
      if (frame !== undefined && problems[0] !== undefined) damage.set(frame.id, problems[0].reason)
  }
  const all: Frame[] = []
  for await (const frame of archive.frames()) all.push(frame)
  const older = Math.max(0, all.length - options.last)
  return {
    place,
    kind: 'archive',
    madeAt: new Date(),
    frames: all
      .slice(older)
      .map((frame) => toReportFrame(frame, damage.get(frame.id), retention !== undefined)),
    heat: { sections: [] },
    checked: options.verify ? 'verified' : 'listed',
    remarks: [
      ...leftOut(older, all.length),
      'Where the memory changed is not shown: the files of all frames would have to be fetched for that.',
    ],
  }
}

function toReportFrame(frame: Frame, damage: string | undefined, hasRules: boolean): ReportFrame {
  const { number, id, parentId, frozenAt, kind, byteLength, sections, hasState, keptBecause } = frame
  const { changedBytes, pauseMs, durationMs, engine, fileSize, stateSize = 0 } = frame
  return {
    number,
    name: `frame ${number}`,
    id,
    ...(parentId !== undefined && { parentId }),
    frozenAt,
    kind,
    byteLength,
    ...{ changedBytes, pauseMs, durationMs, engine },
    fileSize: fileSize + stateSize,
    hasState,
    // Without rules there are no reasons to show.
    keptBecause: hasRules ? keptBecause : [],
    ...(damage !== undefined && { damage }),
    sections,
  }
}
