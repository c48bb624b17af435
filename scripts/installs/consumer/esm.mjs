import { memoryKeepsItsInstant, objectsKeepTheirInstant, workersWriteSharedRegions } from './check.mjs'

await memoryKeepsItsInstant()
await objectsKeepTheirInstant()
await workersWriteSharedRegions()
console.log('works')
