/** What a disk may hold after a loss of power, for tests that record the calls of a writer with `strace -f`. */

/** The calls of a trace, each at the moment when it had returned, without who made it. */
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

/** Of some changes that are not synced: none is lost, all, each alone, all but each one. */
export function lossesOf<Change>(changes: readonly Change[]): Change[][] {
  const butOne = changes.map((one) => changes.filter((other) => other !== one))
  return [[], [...changes], ...changes.map((one) => [one]), ...butOne]
}
