// The platforms for which a release has binaries. Used by the scripts that build, check and
// describe them.

/**
 * The oldest glibc with which the binaries must load: that of RHEL 8, which Node 20 also requires.
 */
export const oldestGlibc = '2.28'

/** Major versions of Node. Each has its own heap addon. */
export const nodeMajors = [20, 22, 24, 26]

/** By the name that the loader looks for (`prebuilds/linux-<name>`). */
export const targets = {
  'x64-glibc': { arch: 'x64', zig: `x86_64-linux-gnu.${oldestGlibc}` },
  'arm64-glibc': { arch: 'arm64', zig: `aarch64-linux-gnu.${oldestGlibc}` },
  'x64-musl': { arch: 'x64', zig: 'x86_64-linux-musl' },
  'arm64-musl': { arch: 'arm64', zig: 'aarch64-linux-musl' },
}

/** The files in prebuilds/linux-<name>/. */
export const addonNames = [
  'stillframe.node',
  ...nodeMajors.map((major) => `stillframe_heap-node${major}.node`),
]

/**
 * Limits in bytes. Measured in November 2026, plus ten percent: growth beyond them must be
 * intended, and is allowed here.
 * @type {{ addon: number, tarball: number }}
 */
export const sizeLimits = { addon: 1_600_000, tarball: 9_000_000 }
