/** Opens pages in a real browser. */

import { accessSync, constants } from 'node:fs'
import { delimiter, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core'
import type { TestContext } from 'vitest'

/** Names of the program in the distributions. */
const programs = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable']

/** Path of the browser, or undefined if there is none. */
export function findBrowser(): string | undefined {
  const places = (process.env['PATH'] ?? '').split(delimiter)
  return programs.flatMap((program) => places.map((place) => join(place, program))).find(isExecutable)
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Skips the test, with a reason, if there is no browser. */
export function needsBrowser(context: TestContext): void {
  if (findBrowser() === undefined) context.skip('needs chromium, which is not installed')
}

/** Starts the browser, or returns undefined if there is none. */
export async function launchBrowser(): Promise<Browser | undefined> {
  const executablePath = findBrowser()
  if (executablePath === undefined) return undefined
  // Chromium's sandbox is refused to root, and in most containers; /dev/shm may be small there.
  return await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] })
}

/** A page, and any activity that a report must not have. */
export interface Opened extends AsyncDisposable {
  page: Page
  /** Addresses that it requested, except its own. */
  requests: string[]
  /** Errors and other console output. */
  said: string[]
}

/** Opens a file. */
export async function openPage(
  browser: Browser,
  path: string,
  options: BrowserContextOptions = {},
): Promise<Opened> {
  const context = await browser.newContext(options)
  const page = await context.newPage()
  const url = pathToFileURL(path).href
  const [requests, said]: string[][] = [[], []]
  page.on('request', (request) => {
    if (request.url() !== url && !request.url().startsWith('data:')) requests?.push(request.url())
  })
  page.on('console', (message) => said?.push(message.text()))
  page.on('pageerror', (error) => said?.push(error.stack ?? error.message))
  await page.goto(url)
  return {
    page,
    requests: requests ?? [],
    said: said ?? [],
    [Symbol.asyncDispose]: () => context.close(),
  }
}
