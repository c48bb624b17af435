/**
 * FUSE (libfuse) and NFS rename a file that is removed while a process has it open; it disappears
 * when it is closed.
 */

/** True if the name belongs to such a file. @param {string} name */
export function isOfOpenFile(name) {
  return /^\.(fuse_hidden|nfs)[0-9a-f]+$/.test(name)
}

/** Prefix of directories that contain only such files, until the process of the test has ended. */
export const stillOpenPrefix = 'still-open-'
