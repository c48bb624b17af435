/**
 * Archives in an object store: the protocol, and the transfer of files of frames. See
 * docs/STORAGE.md.
 */

export {
  type DownloadRequest,
  type DownloadTarget,
  downloadFile,
  downloadParts,
  fetchRange,
  fileTarget,
} from './download.js'
export type { Lease } from './lease.js'
export type { RemoteFile } from './names.js'
export { openForReading, type RemoteReader, type RemoteReaderOptions } from './remote-reader.js'
export type { FrameObjects, RemoteFrame, StoredPart } from './remote-state.js'
export {
  type Collected,
  openForWriting,
  type RemoteWriter,
  type RemoteWriterOptions,
  type Upload,
} from './remote-writer.js'
export { fileSource, type UploadRequest, type UploadSource, uploadParts } from './upload.js'
