// The front door: the verbs, which file each one lives in, and what becomes of an error.
//
// Only the asked verb's file is loaded, so that `belay --help` answers at once. A verb exports `command`, made with
// stricli; its flags, its help and its example live there. Two kinds of failure: a UserError, and what the system refuses,
// print a message and exit with 2 (or, where a rank was lost, 74); anything else is our bug and prints its stack (exit 1). A run that saved
// and stopped exits with 75.
//
// Does not: do any work; commands/ does.
import type { Command, CommandContext, RouteMap } from '@stricli/core';
import { closest, exitCodes, Paused, UserError } from './base/errors.ts';
import { version } from './base/version.ts';

interface Verb {
  readonly brief: string;
  readonly load: () => Promise<Command<CommandContext> | RouteMap<CommandContext>>;
}

/** In the order in which a run goes through them. */
const verbs: Readonly<Record<string, Verb>> = {
  demo: {
    brief: 'run the whole line, from documents to a model that chats',
    load: async () => (await import('./commands/demo.ts')).command,
  },
  data: {
    brief: 'clean documents, with a reason for each one dropped',
    load: async () => (await import('./commands/data.ts')).command,
  },
  robots: {
    brief: 'robots.txt: ask one, keep snapshots, rank hosts, add up losses',
    load: async () => (await import('./commands/robots.ts')).command,
  },
  tokenizer: {
    brief: 'train tokenizers, run them, measure them, change vocabularies',
    load: async () => (await import('./commands/tokenizer.ts')).command,
  },
  pack: {
    brief: 'turn documents into token files',
    load: async () => (await import('./commands/pack.ts')).command,
  },
  tokens: {
    brief: 'check token files, and join them',
    load: async () => (await import('./commands/tokens.ts')).command,
  },
  pretrain: {
    brief: 'train a model on token files',
    load: async () => (await import('./commands/pretrain.ts')).command,
  },
  sft: {
    brief: 'fine-tune a model on conversations',
    load: async () => (await import('./commands/sft.ts')).command,
  },
  eval: {
    brief: 'measure a model: losses, questions, memorisation',
    load: async () => (await import('./commands/eval.ts')).command,
  },
  release: {
    brief: 'make the folder that others can load, with its papers',
    load: async () => (await import('./commands/release.ts')).command,
  },
  convert: {
    brief: "weights between Hugging Face folders and Megatron's layout",
    load: async () => (await import('./commands/convert.ts')).command,
  },
  generate: {
    brief: 'continue a prompt',
    load: async () => (await import('./commands/generate.ts')).command,
  },
  score: {
    brief: 'log-probabilities of given text, a file at a time',
    load: async () => (await import('./commands/score.ts')).command,
  },
  chat: {
    brief: 'talk to a model',
    load: async () => (await import('./commands/chat.ts')).command,
  },
  trace: {
    brief: 'where a file came from; what became of a document',
    load: async () => (await import('./commands/trace.ts')).command,
  },
  plan: {
    brief: 'what a recipe costs: parameters, FLOPs, memory, time',
    load: async () => (await import('./commands/plan.ts')).command,
  },
  render: {
    brief: 'a recipe as the argument list of Megatron-LM',
    load: async () => (await import('./commands/render.ts')).command,
  },
  campaign: {
    brief: 'training as a chain of jobs on a cluster',
    load: async () => (await import('./commands/campaign.ts')).command,
  },
  vet: {
    brief: 'measure and judge the nodes of a job',
    load: async () => (await import('./commands/vet.ts')).command,
  },
  doctor: {
    brief: 'what this machine can do, and what is missing',
    load: async () => (await import('./commands/doctor.ts')).command,
  },
};

/** Runs one command line and returns its exit code. */
async function main(args: readonly string[]): Promise<number> {
  const [name] = args;
  if (name === undefined || name === '--help' || name === '-h' || name === 'help') {
    process.stdout.write(help());
    return name === undefined ? exitCodes.user : exitCodes.finished;
  }
  if (name === '--version' || name === '-v') {
    process.stdout.write(`${version}\n`);
    return exitCodes.finished;
  }
  const verb = Object.hasOwn(verbs, name) ? verbs[name] : undefined;
  if (!verb) {
    const near = closest(name, Object.keys(verbs));
    throw new UserError(`belay has no verb "${name}"${near ? `; did you mean "${near}"?` : ''}`, {
      expected: Object.keys(verbs).join(', '),
      next: 'belay --help',
    });
  }
  return await runVerb(name, await verb.load(), args);
}

async function runVerb(
  name: string,
  command: Command<CommandContext> | RouteMap<CommandContext>,
  args: readonly string[],
): Promise<number> {
  const { buildApplication, buildRouteMap, ExitCode, run, text_en, UnexpectedPositionalError } = await import(
    '@stricli/core'
  );
  const application = buildApplication(buildRouteMap({ routes: { [name]: command }, docs: { brief: 'belay' } }), {
    name: 'belay',
    scanner: { caseStyle: 'allow-kebab-for-camel', allowArgumentEscapeSequence: true },
    documentation: { caseStyle: 'convert-camel-to-kebab', disableAnsiColor: true },
    determineExitCode: exitCodeOf,
    localization: {
      text: {
        ...text_en,
        exceptionWhileRunningCommand: (error) => errorMessage(error),
        exceptionWhileParsingArguments: function (error, ansiColor) {
          // A verb with verbs of its own and a usual one takes a wrong name for an argument of that.
          if ('getAllEntries' in command && error instanceof UnexpectedPositionalError) {
            const known = command.getAllEntries().map((entry) => entry.name['convert-camel-to-kebab']);
            const near = closest(error.input, known);
            const what = `belay ${name} has no verb "${error.input}"${near ? `; did you mean "${near}"?` : ''}`;
            return errorMessage(new UserError(what, { expected: known.join(', '), next: `belay ${name} --help` }));
          }
          const what = text_en.exceptionWhileParsingArguments.call(this, error, ansiColor);
          return `belay ${name}: ${what}\n  next:     belay ${name} --help`;
        },
      },
    },
  });
  const { stdout, stderr, env } = process;
  const context: { process: { stdout: typeof stdout; stderr: typeof stderr; env: typeof env; exitCode?: number } } = {
    process: { stdout, stderr, env },
  };
  await run(application, args, context);
  const code = context.process.exitCode ?? exitCodes.finished;
  if (code >= 0) return code;
  return code === ExitCode.InvalidArgument || code === ExitCode.UnknownCommand ? exitCodes.user : exitCodes.bug;
}

/** What a system refuses for reasons of its own: no room, no rights. */
const refusals: readonly unknown[] = ['ENOSPC', 'EDQUOT', 'EACCES', 'EPERM', 'EROFS', 'EMFILE', 'ENFILE', 'EIO'];

function isRefusal(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && 'syscall' in error && refusals.includes((error as NodeJS.ErrnoException).code);
}

function exitCodeOf(error: unknown): number {
  if (error instanceof UserError) return error.exitCode;
  if (isRefusal(error)) return exitCodes.user;
  if (error instanceof Paused) return exitCodes.paused;
  return exitCodes.bug;
}

function errorMessage(error: unknown): string {
  if (error instanceof UserError || isRefusal(error)) return `belay: ${error.message}`;
  if (error instanceof Paused) return error.message;
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return `belay ${version}: this is a bug, please report it with the lines below and the command you typed\n${stack}`;
}

function help(): string {
  const width = Math.max(...Object.keys(verbs).map((name) => name.length));
  const lines = Object.entries(verbs).map(([name, { brief }]) => `  ${name.padEnd(width)}  ${brief}`);
  return `belay ${version}: from documents to a released language model

USAGE
  belay VERB [flags]
  belay VERB --help

VERBS
${lines.join('\n')}

EXAMPLE
  belay demo --out out/demo
  belay chat --model out/demo/release
  belay trace out/demo/release/model.safetensors

EXIT CODES
  0 finished   1 a bug of ours   2 a mistake in the input
  74 another rank was lost   75 saved and paused: run again to go on
  3 score: some lines have an error   4 trace: something changed since   5 robots check --exit-code: refused   6 vet: a node is sick
  130, 140, 143 ended by a signal
`;
}

// `belay trace ... | head` closes our output early; that is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(exitCodes.finished);
  process.stderr.write(`${errorMessage(error)}\n`);
  process.exit(exitCodeOf(error));
});

try {
  const code = await main(process.argv.slice(2));
  // A verb may have set a code of its own (docs/cli.md).
  process.exitCode ??= code;
} catch (error) {
  process.stderr.write(`${errorMessage(error)}\n`);
  process.exitCode = exitCodeOf(error);
}
