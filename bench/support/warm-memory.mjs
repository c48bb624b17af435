// A hypervisor may take back memory that has been free for a while. Getting it again is not the work
// of whatever is measured, but would be paid by it: up to seconds per GiB.
import { runProgram } from './disk.mjs'

const library = new URL('../../dist/index.js', import.meta.url).href
const fill = `
const { Region } = await import('${library}')
const region = Region.allocate(Number(process.argv[1]))
for (let at = 0; at < region.byteLength; at += 2 ** 30) {
  new Uint8Array(region.buffer, at, Math.min(2 ** 30, region.byteLength - at)).fill(1)
}`

/**
 * Uses this much memory for a moment, in huge pages, since free memory that was used in small ones is
 * not what the next huge page is made of.
 */
export const warmMemory = (byteLength) =>
  runProgram(process.execPath, ['--input-type=module', '--eval', fill, String(byteLength)])
