// The process in which a scenario runs; see scenario.mjs.

// The result is no longer wanted, or has been sent.
process.once('disconnect', () => process.exit())

process.once('message', async ({ module, name, options }) => {
  const tell = (told) => process.send({ told })
  let outcome
  try {
    const { scenarios } = await import(module)
    outcome = { result: await scenarios[name](options, tell) }
  } catch (error) {
    outcome = { error: error.stack }
  }
  process.send(outcome, () => process.disconnect())
})
