// The model card (README.md of the release), written from evidence alone.
//
// Sections follow the card of Apertus (spec section 2.11): summary, use, training, data, evaluation, memorisation,
// limits, origin. A section whose evidence is missing says so; no sentence carries a result that was not read.
//
// Does not: measure anything.
import type { Evidence, MemorisationEvidence } from './evidence.ts';
import { licenceNote } from './data-summary.ts';
import { fact, measured, percent, table, whole } from './markdown.ts';
import type { Provenance } from './provenance.ts';

/** Sampling that the Apertus card recommends (spec section 2.11); written to generation_config.json too. */
export const recommendedSampling = { temperature: 0.8, topP: 0.9 } as const;

export function modelCard(evidence: Evidence, provenance: Provenance, parameters: number): string {
  const { recipe, model, chats } = evidence;
  const name = recipe.release?.modelName ?? recipe.name;
  return `${[
    frontMatter(evidence, name),
    `# ${name}`,
    summary(evidence, name, parameters),
    `## Use

The folder has the Hugging Face layout; libraries that know the architecture \`ApertusForCausalLM\` load it.

\`\`\`sh
${chats ? 'belay chat --model .' : 'belay generate --model . --prompt "..."'}
\`\`\`

Recommended sampling: temperature ${recommendedSampling.temperature}, top-p ${recommendedSampling.topP} (in \`generation_config.json\`). ${
      chats
        ? 'Conversations follow `chat_template.jinja`; a turn ends with `<|assistant_end|>`.'
        : 'This is a base model: it continues text and does not follow a conversation.'
    }

Intended use: research on, and teaching of, open language-model training at a scale where every step can be inspected. It is not meant to inform decisions about people.`,
    training(evidence, provenance),
    data(evidence),
    evaluation(evidence),
    memorisation(evidence),
    `## Limits

- The numbers above are all that was measured. Nothing was tested about safety, bias or factual correctness.
- The model can state falsehoods and can repeat passages of its training data; how often it repeats them was not measured on this model.
- Personal data was searched for by patterns (e-mail addresses, IP addresses, IBANs); names and other personal data are not found by them.
- No filter is applied to the output.`,
    `## Origin

Every artefact of this release has a manifest with the hashes of its files and the identity of its inputs. \`provenance/index.json\` holds the family tree of ${whole(provenance.artefacts.length)} artefacts, down to the source documents.

\`\`\`sh
belay trace .
\`\`\`

Model artefact: \`${model.id}\``,
  ].join('\n\n')}\n`;
}

function frontMatter({ languages }: Evidence, name: string): string {
  const codes = keptLanguages(languages);
  return `---
license: apache-2.0
model_name: ${JSON.stringify(name)}
pipeline_tag: text-generation
tags: [apertus, belay]
language: [${codes.map((code) => JSON.stringify(code)).join(', ')}]
---`;
}

/** Codes for texts in an unknown language and in none. */
const withoutLanguage = new Set(['und', 'zxx']);

function keptLanguages(languages: Evidence['languages']): string[] {
  return [...languages]
    .filter(([code, { documentsKept }]) => !withoutLanguage.has(code) && documentsKept > 0)
    .map(([code]) => code);
}

function summary(evidence: Evidence, name: string, parameters: number): string {
  const { evaluation, languages, total } = evidence;
  const kind = evidence.chats ? 'chat' : 'base';
  const lines = [
    `${name} is a ${kind} model of the Apertus architecture with ${whole(parameters)} parameters, trained from ${whole(total.documentsKept)} documents in ${whole(keptLanguages(languages).length)} languages.`,
  ];
  if (evidence.beginning !== undefined) {
    lines.push(
      `Its training began with ${evidence.beginning}; what those weights were trained on before is not counted here.`,
    );
  }
  const overall = evaluation?.validation[kind === 'chat' ? 'chat' : 'base']?.overall;
  if (overall) {
    lines.push(
      `On held-out documents it needs ${measured(overall.bitsPerByte)} bits per byte; the unigram of the training tokens needs ${measured(overall.unigramBitsPerByte)}.`,
    );
  }
  const question = evaluation?.languageQuestion;
  if (question) {
    lines.push(
      `It names the language of ${percent(question.accuracy)} of held-out texts (chance ${percent(question.chance)}).`,
    );
  }
  return lines.join(' ');
}

function training({ recipe }: Evidence, provenance: Provenance): string {
  const { model, pretrain } = recipe;
  const sizes = table(
    ['layers', 'hidden', 'feed-forward', 'query heads', 'key/value heads', 'head width', 'vocabulary', 'positions'],
    [
      [
        model.layers,
        model.hidden,
        model.intermediate,
        model.heads,
        model.kvHeads,
        model.headDim,
        model.vocabularySize,
        model.maxPositions,
      ].map(whole),
    ],
  );
  const stages = provenance.artefacts
    .filter(({ kind }) => kind === 'model')
    .map(({ name, manifest }) => {
      const facts = Object.entries(manifest.facts).map(([key, value]) => `${key} ${fact(value)}`);
      return [name, `\`${manifest.id.slice(0, 12)}\``, facts.join(', ')];
    });
  const how = pretrain
    ? `Pretraining: ${pretrain.optimizer.name}, ${whole(pretrain.batchSize)} sequences of ${whole(pretrain.sequenceLength)} tokens per step, ${
        pretrain.goldfish ? `Goldfish loss (k ${pretrain.goldfish.k}, h ${pretrain.goldfish.h})` : 'no Goldfish loss'
      }, ${pretrain.documentMask ? 'attention inside documents' : 'attention across documents'}.`
    : 'The recipe says nothing about pretraining.';
  return `## Training\n\n${sizes}\n\n${how}\n\n${table(['artefact', 'id', 'recorded facts'], stages)}`;
}

function data({ sources, funnel, total, licences, personalData }: Evidence): string {
  const steps = funnel.steps.map(({ step, in: before, out, moved, dropped }) => [
    step,
    whole(before.documents),
    whole(out.documents),
    whole(moved.documents),
    Object.entries(dropped)
      .map(([reason, { documents }]) => `${reason}: ${whole(documents)}`)
      .join(', ') || '-',
  ]);
  const kinds = [...personalData.kinds].map(([kind, count]) => `${kind} ${whole(count)}`).join(', ');
  return `## Data

${whole(total.documentsIn)} documents (${whole(total.bytesIn)} bytes) were read and ${whole(total.documentsKept)} (${whole(total.bytesKept)} bytes) kept, held-out parts included.

${table(['step', 'documents in', 'documents out', 'held out whole', 'dropped'], steps)}

Personal data was replaced in ${whole(personalData.documents)} kept documents${kinds === '' ? '' : ` (${kinds})`}. Licences of kept documents: ${
    [...licences]
      .filter(([, { documentsKept }]) => documentsKept > 0)
      .map(([licence, { documentsKept }]) => `${licence} (${whole(documentsKept)})`)
      .join(', ') || 'none'
  }. ${[licenceNote(sources.keys()), '`DATA_SUMMARY.md` has the whole account.'].filter((part) => part !== '').join(' ')}`;
}

function evaluation({ evaluation }: Evidence): string {
  if (!evaluation) return '## Evaluation\n\nNot evaluated.';
  const { base, chat } = evaluation.validation;
  const row = (name: string, nats: number, bits: number): string[] => [name, measured(nats), measured(bits)];
  const losses = table(
    ['model', 'nats per token', 'bits per byte'],
    [
      row(
        'unigram of the training tokens (add one)',
        base.overall.unigramNatsPerToken,
        base.overall.unigramBitsPerByte,
      ),
      row('base model', base.overall.natsPerToken, base.overall.bitsPerByte),
      ...(chat ? [row('chat model', chat.overall.natsPerToken, chat.overall.bitsPerByte)] : []),
    ],
  );
  const ranked = Object.entries(base.languages).sort(([, a], [, b]) => a.bitsPerByte - b.bitsPerByte);
  const shown = ranked.length <= 10 ? ranked : [...ranked.slice(0, 5), ...ranked.slice(-5)];
  const perLanguage = table(
    ['language', 'code', 'bits per byte (base model)', 'unigram'],
    shown.map(([code, loss]) => [
      evaluation.languageNames[code] ?? code,
      code,
      measured(loss.bitsPerByte),
      measured(loss.unigramBitsPerByte),
    ]),
  );
  const question = evaluation.languageQuestion;
  return `## Evaluation

Validation loss on ${whole(base.overall.documents)} held-out documents (${whole(base.overall.tokens)} predicted tokens, ${whole(base.overall.bytes)} bytes):

${losses}

${ranked.length <= 10 ? 'By language:' : 'The languages with the lowest and the highest values; `evaluation/evaluation.json` has all:'}

${perLanguage}${
  question
    ? `

Language question ("Which language is this?") on held-out texts, answered freely and greedily: ${whole(question.correct)} of ${whole(question.questions)} right, ${percent(question.accuracy)} (standard error ${percent(question.standardError)}). Chance over ${whole(question.languages)} languages is ${percent(question.chance)}; always giving the most frequent answer would reach ${percent(question.majority)}.`
    : ''
}`;
}

function memorisation({ memorisation }: Evidence): string {
  if (!memorisation) return '## Memorisation\n\nNot measured.';
  return `## Memorisation

Measured on side runs of a smaller model, not on this one: ${whole(memorisation.steps)} steps per run, ${whole(memorisation.seeds.length)} seeds per setting. Texts were planted so many times; the model is given the beginning and continues greedily. Rouge-L of the continuation, mean over probes (lowest and highest seed), with the standard loss and with the Goldfish loss (k ${memorisation.rule.k}, h ${memorisation.rule.h}):

${table(['times planted', 'probes per run', 'standard loss', 'Goldfish loss'], memorisationRows(memorisation))}`;
}

function memorisationRows({ standard, goldfish }: MemorisationEvidence): string[][] {
  const cell = (bucket: MemorisationEvidence['standard'][number] | undefined): string =>
    bucket
      ? `${measured(bucket.rougeL.mean)} (${measured(bucket.rougeL.min)} to ${measured(bucket.rougeL.max)})`
      : 'not measured';
  return standard.map((bucket) => [
    whole(bucket.repetitions),
    whole(bucket.probes),
    cell(bucket),
    cell(goldfish.find(({ repetitions }) => repetitions === bucket.repetitions)),
  ]);
}
