// How often this process holds a file open, for tests of what lets go of files.
//
// Does not: know anything where there is no /proc (not Linux); it says 0 then.
import { existsSync, readdirSync, readlinkSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

const handles = '/proc/self/fd';

function count(path: string): number {
  return readdirSync(handles).filter((name) => {
    try {
      return readlinkSync(`${handles}/${name}`) === path;
    } catch {
      // The handle that listed the folder.
      return false;
    }
  }).length;
}

/** Open handles of a file; closing takes a moment, so what is open is looked at again for half a second. */
export async function openFiles(path: string): Promise<number> {
  if (!existsSync(handles)) return 0;
  for (let tries = 0; tries < 20 && count(path) > 0; tries++) await setTimeout(25);
  return count(path);
}
