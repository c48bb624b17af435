/**
 * Every engine with each way of handling faults: the options that request it, and the variant that
 * a snapshot then reports.
 */

import { capabilities } from 'stillframe'

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

/**
 * The reason for which this machine, or this user, cannot use a variant; undefined if it can.
 *
 * @param {Variant} variant
 * @returns {string | undefined}
 */
export function whyNot(variant) {
  const { engines, features } = capabilities()
  const { available, reason } =
    variant === 'fork' || variant === 'mprotect'
      ? engines[variant]
      : (features[variant.replace(' ', '_')] ?? { available: false, reason: 'not known' })
  return available ? undefined : reason
}

export const inProcessVariants = /** @type {const} */ ([
  'mprotect',
  'userfaultfd thread',
  'userfaultfd signal',
])
export const signalVariants = /** @type {const} */ (['mprotect', 'userfaultfd signal'])
export const allVariants = /** @type {const} */ (['fork', ...inProcessVariants])
