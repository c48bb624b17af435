/**
 * What FUSE (libfuse) and NFS make of a file that is removed while somebody has it open: it gets another name, and goes when it is
 * closed.
 */

/** Whether a name is one of those. @param {string} name */
export function isOfOpenFile(name) {
  return /^\.(fuse_hidden|nfs)[0-9a-f]+$/.test(name)
}

/** Begins the names of directories in which there is nothing else, until the process of the test has ended. */
export const stillOpenPrefix = 'still-open-'
