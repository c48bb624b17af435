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
  summary: 'prune the frames of an archive that no rule keeps',
  positionals: ['PLACE'],
  options: {
    'dry-run': { type: 'boolean', help: 'prune nothing, and show what would be pruned' },
    'take-over': {
      type: 'boolean',
      help: 'for a store: take it over from any service that captures into it',
    },
    ...keepOptions,
    ...placeOptions,
  },
  details: `
${aboutPlaces.trim()}

A frame stays if at least one rule keeps it. Without options, the rules are those that the service gave its
archive, if any. The newest frame always stays, and so do the newest intact frame and all frames that are
being read. Hours, days and weeks are in UTC. If a younger frame is read from the file of a pruned frame,
that file is removed once the younger frame is pruned or compacted. While a service captures into PLACE,
only --dry-run is possible: the service has rules of its own. For a store, it cannot be known whether a
service captures into it. Opening the store for writing takes it over from that service, whose next frame is
refused (ERR_STILLFRAME_FENCED). --take-over confirms that this is intended. In a store, the objects of
pruned frames stay for a day.`,

  async run(args, io) {
    const place = await placeOf(args.positional(0), args)
    const retention = await rulesFor(args, place)
    if (retention === undefined) {
      throw new UsageError(
        'no rule was given, and the archive has none',
        "Say what to keep: '--keep-last 10', '--keep-within 7d', …",
      )
    }
    const dryRun = args.flag('dry-run')
    const { name } = place
    if (args.flag('take-over') && typeof place.at === 'string')
      throw new UsageError('--take-over is for archives in stores')
    if (!dryRun && typeof place.at !== 'string' && !args.flag('take-over')) {
      throw new UsageError(
        `pruning ${name} would take it over from the service that captures into it, if there is one`,
        'Pass --take-over if that is intended, or --dry-run; services prune by themselves, with retention ' +
          'or storeRetention.',
      )
    }
    const { kept, givenUp, freedBytes } = dryRun
      ? await foresee(place, retention)
      : await giveUp(place, retention)
    const verb = dryRun ? 'would be pruned' : givenUp.length === 1 ? 'was pruned' : 'were pruned'
    await io.report({ place: name, dryRun, kept, givenUp, freedBytes }, [
      ...(kept.length === 0 ? [] : [io.style.bold('kept'), '', ...framesTable(kept, true, io), '']),
      ...(givenUp.length === 0 ? [] : [io.style.bold('pruned'), '', ...framesTable(givenUp, false, io), '']),
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
  return `, ${formatBytes(bytes)} ${dryRun ? 'would be' : 'were'} freed on disk`
}
