/** Checks that a port of the service is free again. */

import { once } from 'node:events'
import { createServer } from 'node:net'

/** Fails unless the port can be bound on the first attempt. */
export async function bind(port: number): Promise<void> {
  const server = createServer().listen(port, '127.0.0.1')
  await once(server, 'listening')
  server.close()
  await once(server, 'close')
}
