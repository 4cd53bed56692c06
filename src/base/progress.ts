// Progress of long work: one rewritten line with rate and remaining time on a terminal, plain lines otherwise.
//
// Everything goes to standard error; standard output belongs to results.
//
// Does not: measure for the record; events do.

export interface Progress {
  /** `done` of the total, and a few words to show beside it. */
  update(done: number, note?: string): void;
  /** Ends the line with a closing remark. */
  finish(note?: string): void;
}

export interface Log {
  /** One line for people. */
  line(text: string): void;
  /** Work with a known total (or 0 when unknown), counted in `unit`. */
  progress(label: string, total: number, unit: string): Progress;
}

/** The log of the command line: `quiet` silences it, as --json does. */
export function terminalLog(options: { readonly quiet?: boolean } = {}): Log {
  if (options.quiet) return silentLog;
  const stream = process.stderr;
  const live = stream.isTTY === true;
  return {
    line: (text) => void stream.write(`${text}\n`),
    progress(label, total, unit) {
      const start = performance.now();
      const period = live ? 200 : 10_000;
      let shown = live ? 0 : start;
      let first: { readonly at: number; readonly done: number } | undefined;
      const draw = (done: number, note: string): void => {
        // The rate is taken from the first update on, so that work skipped by a resume does not count.
        const seconds = (performance.now() - (first?.at ?? start)) / 1000;
        const rate = seconds > 0 ? (done - (first?.done ?? 0)) / seconds : 0;
        const share = total > 0 ? ` ${((100 * done) / total).toFixed(0).padStart(3)}%` : '';
        const left = total > 0 && rate > 0 ? `, ${duration((total - done) / rate)} left` : '';
        const text = `${label}${share} ${amount(done)}${total > 0 ? `/${amount(total)}` : ''} ${unit}, ${amount(rate)} ${unit}/s${left}${note ? `, ${note}` : ''}`;
        stream.write(live ? `\r\x1b[2K${text.slice(0, (stream.columns ?? 120) - 1)}` : `${text}\n`);
      };
      return {
        update(done, note = '') {
          const now = performance.now();
          first ??= { at: now, done };
          if (now - shown < period) return;
          shown = now;
          draw(done, note);
        },
        finish(note) {
          if (live) stream.write('\r\x1b[2K');
          if (note !== undefined) stream.write(`${label}: ${note} (${duration((performance.now() - start) / 1000)})\n`);
        },
      };
    },
  };
}

/** Says nothing; for tests and --json. */
export const silentLog: Log = {
  line: () => {},
  progress: () => ({ update: () => {}, finish: () => {} }),
};

/** 12.3 s, 4 min 05 s, 2 h 10 min. */
export function duration(seconds: number): string {
  if (!Number.isFinite(seconds)) return '?';
  if (seconds < 60) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${String(Math.floor(seconds % 60)).padStart(2, '0')} s`;
  return `${Math.floor(seconds / 3600)} h ${String(Math.floor((seconds % 3600) / 60)).padStart(2, '0')} min`;
}

/** A count with three significant digits and a decimal unit: 948, 12.3k, 4.56M. */
export function amount(value: number): string {
  const units = ['', 'k', 'M', 'G', 'T', 'P'];
  let unit = 0;
  let scaled = value;
  while (Math.abs(scaled) >= 999.5 && unit < units.length - 1) {
    scaled /= 1000;
    unit++;
  }
  const digits =
    unit === 0 && Number.isInteger(scaled) ? 0 : Math.max(0, 2 - Math.floor(Math.log10(Math.max(1, Math.abs(scaled)))));
  return `${scaled.toFixed(digits)}${units[unit]}`;
}
