// A plugin of typedoc: in the site, a page of Markdown is called by its heading, and not by its file. Its address still
// is the file's, so that links to it last.

import { RendererEvent } from 'typedoc'

export function load(app) {
  // Once the addresses are settled, and before the search index takes the names.
  app.renderer.on(RendererEvent.BEGIN, ({ project }) => project.documents?.forEach(rename), 1000)
}

function rename(document) {
  const [, heading] = /^# (.*)$/m.exec(document.content.map(({ text }) => text).join('')) ?? []
  if (heading !== undefined) document.name = heading.replaceAll('`', '')
}
