/**
 * Promise: the memory store on which other tests are built implements `ObjectStore`.
 *
 * Proved by the tests that all stores run.
 */

import { testContract } from './contract.js'
import { MemoryStore } from './memory-store.js'

testContract(async () => new MemoryStore())
