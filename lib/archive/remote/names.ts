/**
 * The keys of an archive in an object store:
 *
 *   manifest/<20 digits>                  the whole archive as of this version: its being there is the commit
 *   boundary                              manifests below it are no commits, whoever made them
 *   data/<frame id>/<nonce>/<m or s><n>   part n of a frame's memory (m) or objects (s); never overwritten
 *   lease/<nonce>                         somebody reads
 *   probe/<nonce>                         what a writer tries at the store, and reads its clock by
 */

export const boundaryKey = 'boundary'
export const manifestPrefix = 'manifest/'
export const dataPrefix = 'data/'
export const leasePrefix = 'lease/'
export const probePrefix = 'probe/'

/** So that a list in the order of keys is one in the order of versions. */
const digits = 20

export function manifestKey(version: number): string {
  return manifestPrefix + String(version).padStart(digits, '0')
}

/** The version of a manifest; undefined: it is none. */
export function versionOf(key: string): number | undefined {
  const [, version] = /^manifest\/(\d{20})$/.exec(key) ?? []
  if (version === undefined || !Number.isSafeInteger(Number(version))) return undefined
  return Number(version)
}

/** Which of a frame's files. */
export type RemoteFile = 'memory' | 'state'

export function dataKey(frameId: string, nonce: string, file: RemoteFile, part: number): string {
  return `${dataPrefix}${frameId}/${nonce}/${file === 'memory' ? 'm' : 's'}${String(part).padStart(6, '0')}`
}

/** Of the frame that an object below `data/` was uploaded for. */
export function frameIdOf(key: string): string {
  return key.split('/')[1] ?? ''
}

export function leaseKey(nonce: string): string {
  return leasePrefix + nonce
}

export function probeKey(nonce: string): string {
  return probePrefix + nonce
}
