// CPU time of this process, for tests that a step's time grows with its input and not with its square: the clock on the wall
// says more of what else the machine does.
//
// Does not: measure speed; bench/ does.

/** Milliseconds of CPU time that all threads of this process have had. */
export function cpuMilliseconds(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
