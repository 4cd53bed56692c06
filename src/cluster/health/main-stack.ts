// The JavaScript stack of the main thread, read from another thread of the process: also while it never comes back to its
// event loop.
//
// The inspector that Node carries can be reached from a worker thread. `Debugger.pause` stops the main thread at the next
// check that every loop and every call makes, and hands over the frames; then it goes on. A thread that is inside a system call
// or a library makes no such check; then there is no answer, and the state of the thread in /proc must do
// (process-state.ts).
//
// Does not: work in the main thread itself.
import { Session } from 'node:inspector';

/** Frames, the innermost first; undefined where the main thread ran no JavaScript for `milliseconds`. */
export async function mainStack(milliseconds: number): Promise<string[] | undefined> {
  const session = new Session();
  session.connectToMainThread();
  const urls = new Map<string, string>();
  try {
    return await new Promise<string[] | undefined>((resolve) => {
      const timer = setTimeout(() => resolve(undefined), milliseconds);
      session.on('Debugger.scriptParsed', ({ params: { scriptId, url } }) => void urls.set(scriptId, url));
      session.on('Debugger.paused', ({ params: { callFrames } }) => {
        clearTimeout(timer);
        const frames = callFrames.map(({ functionName, location: { scriptId, lineNumber, columnNumber = 0 } }) => {
          const at = `${urls.get(scriptId) ?? 'unknown'}:${lineNumber + 1}:${columnNumber + 1}`;
          return `${functionName || '(anonymous)'} (${at})`;
        });
        session.post('Debugger.resume');
        resolve(frames);
      });
      session.post('Debugger.enable');
      session.post('Debugger.pause');
    });
  } finally {
    // Takes back a pause that did not come, too.
    session.disconnect();
  }
}
