// A service that leaks until it dies: `leaking-service.mjs [DIRECTORY]`. With a directory, it
// watches its memory. It writes a dot to stdout whenever it gets to run, so that an observer can
// tell when it does not.
import { writeSync } from 'node:fs'

const [directory] = process.argv.slice(2)
if (directory !== undefined) {
  const { watchMemory } = await import('stillframe/heap')
  watchMemory({ directory })
}

class PlantedLeak {
  constructor(number) {
    this.number = number
    this.text = `leaked ${number}`
  }
}

const leaked = []
setInterval(() => {
  for (let i = 0; i < 2000; i++) leaked.push(new PlantedLeak(leaked.length))
  writeSync(1, '.')
}, 2)
