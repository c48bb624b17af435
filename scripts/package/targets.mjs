// What a release has binaries for. For the scripts that build, check and describe them.

/** The oldest glibc that the binaries have to load with: that of RHEL 8, and what Node 20 itself asks for. */
export const oldestGlibc = '2.28'

/** Versions of Node, each with a heap addon of its own. */
export const nodeMajors = [20, 22, 24, 26]

/** By the name that the loader looks for (`prebuilds/linux-<name>`). */
export const targets = {
  'x64-glibc': { arch: 'x64', zig: `x86_64-linux-gnu.${oldestGlibc}` },
  'arm64-glibc': { arch: 'arm64', zig: `aarch64-linux-gnu.${oldestGlibc}` },
  'x64-musl': { arch: 'x64', zig: 'x86_64-linux-musl' },
  'arm64-musl': { arch: 'arm64', zig: 'aarch64-linux-musl' },
}

/** What is in prebuilds/linux-<name>/. */
export const addonNames = [
  'stillframe.node',
  ...nodeMajors.map((major) => `stillframe_heap-node${major}.node`),
]

/**
 * Bytes. Measured in November 2026, with a tenth to spare: what grows beyond them does so on purpose, and here.
 * @type {{ addon: number, tarball: number }}
 */
export const sizeLimits = { addon: 1_600_000, tarball: 9_000_000 }
