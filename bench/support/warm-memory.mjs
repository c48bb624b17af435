// A hypervisor may reclaim memory that has been free for a while. Getting it back, which can take
// seconds per GiB, is not part of what is measured, but would be included.
import { runProgram } from './disk.mjs'

const library = new URL('../../dist/index.js', import.meta.url).href
const fill = `
const { Region } = await import('${library}')
const region = Region.allocate(Number(process.argv[1]))
for (let at = 0; at < region.byteLength; at += 2 ** 30) {
  new Uint8Array(region.buffer, at, Math.min(2 ** 30, region.byteLength - at)).fill(1)
}`

/**
 * Uses this much memory for a moment. In huge pages: the kernel does not build the next huge page
 * from free memory that was last used in small pages.
 */
export const warmMemory = (byteLength) =>
  runProgram(process.execPath, ['--input-type=module', '--eval', fill, String(byteLength)])
