/**
 * Promise: the store in memory that other tests are built upon does what `ObjectStore` says.
 *
 * Proved by the tests that all stores run.
 */

import { testContract } from './contract.js'
import { MemoryStore } from './memory-store.js'

testContract(async () => new MemoryStore())
