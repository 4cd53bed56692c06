// What a campaign must know of the program that trains: how to start it, see how far it is, ask it to stop, read its end.
//
// belay's own loop and Megatron-LM answer the same questions, so one chain of jobs drives both. What they have in common is
// here: trigger files (triggers.ts), and the cleaning before a start (unfinished.ts).
//
// Does not: start processes or talk to a scheduler; the controller of a link does.
import { mkdirSync } from 'node:fs';
import { clearTriggers, isTriggered, triggersFolder } from './triggers.ts';

/** How far a training is, as its files say. */
export interface Progress {
  /** Steps that no fault can take away: those in the newest whole checkpoint, over all phases. */
  readonly step: number;
  /** Steps of the whole training; null where its engine alone knows. */
  readonly total: number | null;
  /** The phase that is trained next; null where there are none, and at the end. */
  readonly phase: string | null;
  readonly isFinished: boolean;
}

/** Where one start of the training runs. */
export interface StepPlace {
  /** The first has the rendezvous. */
  readonly nodes: readonly string[];
  readonly tasksPerNode: number;
  /** A folder of this start's own, which all nodes see. */
  readonly folder: string;
  /** Slurm's number of the job, and which start in it this is, from 0. */
  readonly job: string;
  readonly index: number;
}

/** How to start it: `srun <nodes and tasks of the controller> ...srun ...argv`. */
export interface StepCommand {
  /** To be written into the folder of the start, before anything runs. */
  readonly files: readonly { readonly name: string; readonly text: string }[];
  /** Run one after the other on the batch host before the training; one that fails is noted and stops nothing. */
  readonly before: readonly { readonly what: string; readonly argv: readonly string[] }[];
  /** Options of srun that are the engine's. */
  readonly srun: readonly string[];
  /** The command of every task. */
  readonly argv: readonly string[];
}

/** How one start ended, as srun saw it. */
export interface StepEnd {
  readonly exit: number | null;
  readonly signal: string | null;
  readonly before: Progress;
}

/**
 * finished: nothing is left to train. next-phase: this phase is over, start again at once. paused: it saved and left
 * because of a signal, the next link goes on. stopped: somebody's exit trigger; the chain ends. lost-peer: another rank is
 * gone. mistake: the user's; every start would end so. failed: anything else; whoever attributes looks at the logs.
 */
export type StepOutcome = 'finished' | 'next-phase' | 'paused' | 'stopped' | 'lost-peer' | 'mistake' | 'failed';

export interface StepVerdict {
  readonly outcome: StepOutcome;
  /** For people, one line. */
  readonly why: string;
}

/** What a start found and took away. */
export interface CleanUp {
  /** Somebody asked to stop while nothing ran: do not start. */
  readonly stopAsked: boolean;
  /** Checkpoints that a killed save left; deleted, or left to the engine's own start. */
  readonly unfinished: readonly string[];
}

export interface Engine {
  readonly name: 'belay' | 'megatron';
  progress(): Progress;
  /** Numbers of nodes it can train the present phase on, at most `most`, the largest first. */
  nodeCounts(most: number): readonly number[];
  /** Asks a running training to save, or to save and leave. */
  ask(what: 'save' | 'stop'): void;
  /** Before every start: takes away what the one before left unfinished, and makes the folder of triggers. */
  prepare(): CleanUp;
  step(place: StepPlace): StepCommand;
  verdict(end: StepEnd): StepVerdict;
}

/** The triggers before a start: `exit` was meant for the chain, `save` for a training that is gone. */
export function clearForStart(run: string): boolean {
  const stopAsked = isTriggered(run, 'exit');
  clearTriggers(run);
  // Megatron makes `exit` at its end, but not the folder.
  mkdirSync(triggersFolder(run), { recursive: true });
  return stopAsked;
}

/** How srun's end reads. */
export function endText({ exit, signal }: Pick<StepEnd, 'exit' | 'signal'>): string {
  if (signal !== null) return `killed by ${signal}`;
  return exit !== null && exit > 128 ? `exit code ${exit} (signal ${exit - 128})` : `exit code ${exit}`;
}
