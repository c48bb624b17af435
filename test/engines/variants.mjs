/** Every engine, with each way of handling faults: the options that ask for it, and what a snapshot then says. */

/**
 * @typedef {{ engine: 'fork' | 'mprotect' | 'userfaultfd', kernelWrites?: boolean }} VariantOptions
 * @typedef {keyof typeof optionsOf} Variant
 */

export const optionsOf = {
  fork: /** @type {VariantOptions} */ ({ engine: 'fork' }),
  mprotect: /** @type {VariantOptions} */ ({ engine: 'mprotect', kernelWrites: false }),
  'userfaultfd thread': /** @type {VariantOptions} */ ({ engine: 'userfaultfd', kernelWrites: true }),
  'userfaultfd signal': /** @type {VariantOptions} */ ({ engine: 'userfaultfd', kernelWrites: false }),
}

export const inProcessVariants = /** @type {const} */ ([
  'mprotect',
  'userfaultfd thread',
  'userfaultfd signal',
])
export const signalVariants = /** @type {const} */ (['mprotect', 'userfaultfd signal'])
export const allVariants = /** @type {const} */ (['fork', ...inProcessVariants])
