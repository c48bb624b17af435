/** `stillframe prune PLACE`: gives up the frames of an archive that no rule keeps. */

import { toPruneReport } from '../archive/archive.js'
import type { Frame, PruneReport, Retention } from '../archive/index.js'
import { readTable } from '../archive/listing.js'
import { checkRetention } from '../archive/options.js'
import { foreseePrune } from '../archive/prune.js'
import { printable } from '../base/printable.js'
import { framesOf, keepOptions, openToRead, openToWrite, rulesFor } from './archive.js'
import { type Command, UsageError } from './command.js'
import { framesTable } from './frames.js'
import { aboutPlaces, type Place, placeOf, placeOptions } from './place.js'
import { count, formatBytes } from './units.js'

export const prune: Command = {
  name: 'prune',
  summary: 'give up the frames of an archive that no rule keeps',
  positionals: ['PLACE'],
  options: {
    'dry-run': { type: 'boolean', help: 'give nothing up, and say what would be' },
    'take-over': {
      type: 'boolean',
      help: 'of a store: end the service that captures into it, if there is one',
    },
    ...keepOptions,
    ...placeOptions,
  },
  details: `
${aboutPlaces.trim()}

A frame stays if at least one of the rules asks for it. Without an option they are those that the service
gave its archive, if it did. The newest frame always
stays, and so do the newest that is whole and those that somebody is reading. Hours, days and weeks
are those of UTC. A file that a younger frame is read from goes when that one goes, or is compacted.
While a service captures into PLACE, only --dry-run is possible: the service has rules of its own. Nobody can
see whether one captures into a store. Whoever opens that for writing ends it: its next frame is refused
(ERR_STILLFRAME_FENCED). So --take-over must say that this is meant. In a store, objects of frames that were
given up stay for a day.`,

  async run(args, io) {
    const place = await placeOf(args.positional(0), args)
    const retention = await rulesFor(args, place)
    if (retention === undefined) {
      throw new UsageError(
        'no rule is given, and the archive has none',
        "Say what to keep: '--keep-last 10', '--keep-within 7d', …",
      )
    }
    const dryRun = args.flag('dry-run')
    const { name } = place
    if (args.flag('take-over') && typeof place.at === 'string')
      throw new UsageError('--take-over is for archives in stores')
    if (!dryRun && typeof place.at !== 'string' && !args.flag('take-over')) {
      throw new UsageError(
        `pruning ${name} would end the service that captures into it, if there is one`,
        'Say --take-over if that is meant, or --dry-run; services prune by themselves, with retention or storeRetention.',
      )
    }
    const { kept, givenUp, freedBytes } = dryRun
      ? await foresee(place, retention)
      : await giveUp(place, retention)
    const verb = dryRun ? 'would be given up' : givenUp.length === 1 ? 'was given up' : 'were given up'
    await io.report({ place: name, dryRun, kept, givenUp, freedBytes }, [
      ...(kept.length === 0 ? [] : [io.style.bold('kept'), '', ...framesTable(kept, true, io), '']),
      ...(givenUp.length === 0
        ? []
        : [io.style.bold('given up'), '', ...framesTable(givenUp, false, io), '']),
      `${dryRun ? '' : `${io.style.good('✓')} `}${printable(name)}: ${count(givenUp.length, 'frame')} of ` +
        `${kept.length + givenUp.length} ${verb}${describeFreed(freedBytes, dryRun)}`,
    ])
    return 0
  },
}

async function giveUp(place: Place, retention: Retention): Promise<PruneReport> {
  await using archive = await openToWrite(place)
  return await archive.prune({ retention })
}

/** Previews a prune. Takes no lock, so it works while a service captures. */
async function foresee(place: Place, retention: Retention): Promise<PruneReport> {
  await using archive = await openToRead(place, retention)
  const { at } = place
  if (typeof at !== 'string') {
    const frames = await framesOf(archive)
    const [kept, givenUp] = [frames.filter(isKept), frames.filter((frame) => !isKept(frame))]
    for (const frame of givenUp) frame.keptBecause = []
    return { kept, givenUp, freedBytes: 0 }
  }
  const table = await readTable(at)
  const rules = checkRetention(retention, 'retention')
  return toPruneReport(await foreseePrune(at, table, rules))
}

/** True if the rules with which the archive was opened keep the frame. */
function isKept({ keptBecause }: Frame): boolean {
  return !keptBecause.includes('not pruned yet')
}

function describeFreed(bytes: number, dryRun: boolean): string {
  if (bytes === 0) return ''
  return `, ${formatBytes(bytes)} of the disk ${dryRun ? 'would be' : 'were'} set free`
}
