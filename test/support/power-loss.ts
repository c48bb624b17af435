/**
 * Possible contents of a disk after a power loss, for tests that record a writer's calls with
 * `strace -f`.
 */

/** The calls of a trace, in the order in which they returned, without their threads. */
export function callsOf(trace: string): string[] {
  const begun = new Map<string, string>()
  const calls: string[] = []
  for (const line of trace.split('\n')) {
    const [, thread = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const unfinished = /^(.*?) *<unfinished \.\.\.>$/.exec(text)
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text)
    if (unfinished) begun.set(thread, unfinished[1] as string)
    else if (resumed) calls.push((begun.get(thread) ?? '') + resumed[1])
    else calls.push(text)
  }
  return calls.map((call) => call.replace(/ +=/, ' ='))
}

/** Possible losses among unsynced changes: none, all, each one alone, all but each one. */
export function lossesOf<Change>(changes: readonly Change[]): Change[][] {
  const butOne = changes.map((one) => changes.filter((other) => other !== one))
  return [[], [...changes], ...changes.map((one) => [one]), ...butOne]
}
