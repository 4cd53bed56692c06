// The 73 reserved ids of the Apertus tokenizer (ids 0 to 72), with names for the ones that code refers to.
//
// Source: the appendix of the tokenizer repository of swiss-ai and the id lists of its users. Strings that are not
// public (ids 4 to 13) carry Mistral's placeholder `<SPECIAL_n>`.
//
// Does not: know a trained vocabulary; ids from 73 on belong to it.

/** `<unk>`: never produced, since every byte has a token. */
export const UNK = 0;
/** `<s>`: begins a document. */
export const BOS = 1;
/** `</s>`: ends a document (EoD). */
export const EOS = 2;
/** `<pad>`. */
export const PAD = 3;
export const SYSTEM_START = 61;
export const SYSTEM_END = 62;
export const DEVELOPER_START = 63;
export const DEVELOPER_END = 64;
export const USER_START = 65;
export const USER_END = 66;
export const ASSISTANT_START = 67;
export const ASSISTANT_END = 68;
export const INNER_PREFIX = 69;
export const INNER_SUFFIX = 70;
export const TOOLS_PREFIX = 71;
export const TOOLS_SUFFIX = 72;

/** Markers that the personal-data step writes into documents; the only control tokens that document text may contain. */
export const personalDataMarkers: readonly string[] = ['<iban-pii>', '<email-pii>', '<ip-pii>'];

export interface ReservedToken {
  readonly id: number;
  readonly content: string;
  /** Control tokens are special: text from outside never turns into them, and decoding can leave them out. */
  readonly special: boolean;
}

const latex = ['\\begin{', '\\end{', '\\text{', '\\boxed{'];

const contents: readonly string[] = [
  '<unk>',
  '<s>',
  '</s>',
  '<pad>',
  // 4-13: the published strings are not known.
  ...Array.from({ length: 10 }, (_, i) => `<SPECIAL_${4 + i}>`),
  // 14-17: ordinary text that always is one token.
  ...latex,
  // 18-31: code repositories, as in StarCoder.
  ...words(
    'filename gh_stars issue_start issue_comment issue_closed jupyter_start jupyter_text jupyter_code jupyter_output empty_output commit_before commit_msg commit_after reponame',
  ),
  // 32-35
  ...words('think /think answer /answer'),
  // 36-38
  ...personalDataMarkers,
  // 39-41
  ...words('file_sep code_to_intermediate intermediate_to_code'),
  // 42-57: pull requests.
  ...words(
    'pr pr_status pr_is_merged pr_base pr_file pr_base_code pr_diff pr_diff_hunk pr_comment pr_event_id pr_review pr_review_state pr_review_comment pr_in_reply_to_review_id pr_in_reply_to_comment_id pr_diff_hunk_comment_line',
  ),
  // 58-60: fill in the middle.
  ...words('fim_begin fim_hole fim_end'),
  // 61-72: conversations.
  ...words(
    '|system_start| |system_end| |developer_start| |developer_end| |user_start| |user_end| |assistant_start| |assistant_end| |inner_prefix| |inner_suffix| |tools_prefix| |tools_suffix|',
  ),
];

/** All reserved tokens in the order of their ids. */
export const reservedTokens: readonly ReservedToken[] = contents.map((content, id) => ({
  id,
  content,
  special: !latex.includes(content),
}));

/** The marks of conversations: from SYSTEM_START to TOOLS_SUFFIX, the last of the reserved ids. */
export const conversationIds: readonly number[] = reservedTokens.map(({ id }) => id).filter((id) => id >= SYSTEM_START);

/** The string of a reserved id. */
export function reservedContent(id: number): string {
  const content = contents[id];
  if (content === undefined) throw new Error(`no reserved token has the id ${id}`);
  return content;
}

function words(list: string): string[] {
  return list.split(' ').map((word) => `<${word}>`);
}
