// A table of what works with which version of Node.

export class Table {
  #rows = new Map()
  faults = 0
  cells = 0

  /** @param {string} title - of the first column. */
  constructor(title, nodes) {
    this.title = title
    this.nodes = nodes
  }

  /**
   * Runs the check of a cell, and prints the result immediately.
   *
   * @param {() => string | undefined | Promise<string | undefined>} use - throws if it does not
   *   work; a string that it returns is shown in the cell instead of "works".
   */
  async fill(row, node, use) {
    this.cells++
    const started = performance.now()
    let verdict
    try {
      verdict = (await use()) ?? 'works'
    } catch (error) {
      verdict = 'FAILS'
      this.faults++
      console.error(error.message)
    }
    this.put(row, node, verdict)
    console.log(`Node ${node}, ${row}: ${verdict} (${((performance.now() - started) / 1000).toFixed(1)} s)`)
  }

  put(row, node, verdict) {
    if (!this.#rows.has(row)) this.#rows.set(row, new Map())
    this.#rows.get(row).set(node, verdict)
  }

  markdown() {
    const lines = [
      ['', this.title, ...this.nodes.map((node) => `Node ${node}`), ''],
      ['', '---', ...this.nodes.map(() => '---'), ''],
      ...[...this.#rows].map(([name, cells]) => [
        '',
        name,
        ...this.nodes.map((node) => cells.get(node) ?? ''),
        '',
      ]),
    ]
    return `${lines.map((cells) => cells.join(' | ').trim()).join('\n')}\n`
  }
}
