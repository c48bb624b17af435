/** Some promises are proved by numbers that CI has no time for: STILLFRAME_TEST_LONG=1 asks for them. */

export const longMode = process.env['STILLFRAME_TEST_LONG'] === '1'
