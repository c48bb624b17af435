// A typedoc plugin: in the site, the name of a Markdown page is its heading instead of its file
// name. Its address is still derived from the file name, so that links to it last.

import { RendererEvent } from 'typedoc'

export function load(app) {
  // After the addresses are settled, and before the search index takes the names.
  app.renderer.on(RendererEvent.BEGIN, ({ project }) => project.documents?.forEach(rename), 1000)
}

function rename(document) {
  const [, heading] = /^# (.*)$/m.exec(document.content.map(({ text }) => text).join('')) ?? []
  if (heading !== undefined) document.name = heading.replaceAll('`', '')
}
