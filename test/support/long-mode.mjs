/**
 * True with STILLFRAME_TEST_LONG=1, which requests the numbers of repetitions that CI has no time
 * for.
 */

export const longMode = process.env['STILLFRAME_TEST_LONG'] === '1'
