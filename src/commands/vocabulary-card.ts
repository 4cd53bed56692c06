// The model card of a model whose vocabulary was changed: the card it had, under a note of what is different now.
//
// Does not: measure the changed model, or write a card where there was none.

export interface CardNote {
  /** What was done, in one sentence. */
  readonly change: string;
  /** Rows of embedding and output matrix, where they are others than before. */
  readonly rows?: { readonly before: number; readonly now: number } | undefined;
  /** Id of the artefact that was changed. */
  readonly artefact?: string | undefined;
}

/** The card with the note behind its front matter and its title. */
export function cardOfChanged(card: string, { change, rows, artefact }: CardNote): string {
  const [head] = /^(---\r?\n[\s\S]*?\n---\r?\n)?\s*(#[^\n]*(\n|$))?/.exec(card) as RegExpExecArray;
  const grown = rows && rows.before !== rows.now;
  const note = `> **The vocabulary was changed** after this card was written: ${change} ${
    grown ? `Embedding and output matrix have ${rows.now} rows, ${rows.before} before. ` : ''
  }Sizes, measurements and origin below are those of the model before${
    artefact === undefined ? '' : `, the artefact \`${artefact}\``
  }; nothing was measured since. \`manifest.json\` has the account.`;
  return `${head.trimEnd()}\n\n${note}\n\n${card.slice(head.length).trimStart()}`.trimStart();
}

/** Texts in Markdown, the first of many. */
export function quotedTexts(texts: readonly string[]): string {
  const most = 20;
  const quoted = texts.slice(0, most).map((text) => `\`\` ${JSON.stringify(text).replaceAll('`', '\\u0060')} \`\``);
  return quoted.join(', ') + (texts.length > most ? ` and ${texts.length - most} more` : '');
}
