/** `stillframe prune PLACE`: gives up the frames of an archive that no rule keeps. */

import { toPruneReport } from '../archive/archive.js'
import type { PruneReport, Retention } from '../archive/index.js'
import { readTable } from '../archive/listing.js'
import { checkRetention } from '../archive/options.js'
import { foreseePrune } from '../archive/prune.js'
import { printable } from '../base/printable.js'
import { keepOptions, openToRead, openToWrite, rulesFor } from './archive.js'
import { type Command, UsageError } from './command.js'
import { framesTable } from './frames.js'
import { count, formatBytes } from './units.js'

export const prune: Command = {
  name: 'prune',
  summary: 'give up the frames of an archive that no rule keeps',
  positionals: ['PLACE'],
  options: {
    'dry-run': { type: 'boolean', help: 'give nothing up, and say what would be' },
    ...keepOptions,
  },
  details: `
A frame stays if at least one of the rules asks for it. Without an option they are those that the service
gave its archive, if it did. The newest frame always
stays, and so do the newest that is whole and those that somebody is reading. Hours, days and weeks
are those of UTC. A file that a younger frame is read from goes when that one goes, or is compacted.
While a service captures into PLACE, only --dry-run is possible: the service has rules of its own.`,

  async run(args, io) {
    const place = args.positional(0)
    const retention = await rulesFor(args, place)
    if (retention === undefined) {
      throw new UsageError(
        'no rule is given, and the archive has none',
        "Say what to keep: '--keep-last 10', '--keep-within 7d', …",
      )
    }
    const dryRun = args.flag('dry-run')
    const { kept, givenUp, freedBytes } = dryRun
      ? await foresee(place, retention)
      : await giveUp(place, retention)
    const verb = dryRun ? 'would be given up' : givenUp.length === 1 ? 'was given up' : 'were given up'
    await io.report({ place, dryRun, kept, givenUp, freedBytes }, [
      ...(kept.length === 0 ? [] : [io.style.bold('kept'), '', ...framesTable(kept, true, io), '']),
      ...(givenUp.length === 0
        ? []
        : [io.style.bold('given up'), '', ...framesTable(givenUp, false, io), '']),
      `${dryRun ? '' : `${io.style.good('✓')} `}${printable(place)}: ${count(givenUp.length, 'frame')} of ` +
        `${kept.length + givenUp.length} ${verb}${describeFreed(freedBytes, dryRun)}`,
    ])
    return 0
  },
}

async function giveUp(place: string, retention: Retention): Promise<PruneReport> {
  await using archive = await openToWrite(place)
  return await archive.prune({ retention })
}

/** Needs no lock, so that it can be asked while a service captures. */
async function foresee(place: string, retention: Retention): Promise<PruneReport> {
  await (await openToRead(place)).close()
  const table = await readTable(place)
  const rules = checkRetention(retention, 'retention')
  return toPruneReport(await foreseePrune(place, table, rules))
}

function describeFreed(bytes: number, dryRun: boolean): string {
  if (bytes === 0) return ''
  return `, ${formatBytes(bytes)} of the disk ${dryRun ? 'would be' : 'were'} set free`
}
