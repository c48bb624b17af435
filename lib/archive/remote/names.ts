/**
 * Keys of an archive in an object store:
 *
 *   manifest/<20 digits>                 all frames as of this version; its existence is the commit
 *   boundary                             manifests below it are not commits, whoever put them
 *   data/<frame id>/<nonce>/<m or s><n>  part n of memory (m) or JavaScript objects (s)
 *   lease/<nonce>                        a lease of a reader
 *   probe/<nonce>                        a writer's test of the store and of its clock
 *
 * Objects below `data/` are never overwritten.
 */

export const boundaryKey = 'boundary'
export const manifestPrefix = 'manifest/'
export const dataPrefix = 'data/'
export const leasePrefix = 'lease/'
export const probePrefix = 'probe/'

/** Makes the order of keys the order of versions. */
const digits = 20

export function manifestKey(version: number): string {
  return manifestPrefix + String(version).padStart(digits, '0')
}

/** The version of a manifest; undefined if the key is not that of a manifest. */
export function versionOf(key: string): number | undefined {
  const [, version] = /^manifest\/(\d{20})$/.exec(key) ?? []
  if (version === undefined || !Number.isSafeInteger(Number(version))) return undefined
  return Number(version)
}

/** A file of a frame. */
export type RemoteFile = 'memory' | 'state'

export function dataKey(frameId: string, nonce: string, file: RemoteFile, part: number): string {
  return `${dataPrefix}${frameId}/${nonce}/${file === 'memory' ? 'm' : 's'}${String(part).padStart(6, '0')}`
}

/** Id of the frame for which an object below `data/` was uploaded. */
export function frameIdOf(key: string): string {
  return key.split('/')[1] ?? ''
}

export function leaseKey(nonce: string): string {
  return leasePrefix + nonce
}

export function probeKey(nonce: string): string {
  return probePrefix + nonce
}
