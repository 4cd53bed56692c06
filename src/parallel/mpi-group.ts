// Groups whose messages Open MPI moves: for networks that it knows better than TCP does.
//
// The library is opened when it is asked for (native/comm/mpi-library.cpp); belay is built and installed without it.
// mpirun, or srun with PMIx, starts the processes, so there is no rendezvous. A process can start MPI once.
//
// Does not: go on after a lost peer, even for an orderly end: mpirun then ends the others.
import { hostname } from 'node:os';
import { UserError } from '../base/errors.ts';
import { errorText, type Json } from '../base/json.ts';
import type { NativeModule } from '../base/native.ts';
import { disagreement, disagreementError, type Introduction } from './hello.ts';
import { NativeGroup } from './native-group.ts';

export interface MpiOptions {
  readonly rank: number;
  readonly world: number;
  readonly hello: Json;
  readonly heartbeatSeconds: number;
}

export class MpiGroup extends NativeGroup {
  /** MPI_Allreduce of Open MPI, sum, in place; blocks. The oracle and the peer of collectives.ts. */
  mpiAllReduce(data: Float32Array): void {
    this.wait([{ id: this.module.mpiAllReduce(this.open(), data) }]);
  }
}

/** Joins what mpirun started. UserError: no Open MPI, not started by it, other ranks than expected, disagreement. */
export function connectMpi(module: NativeModule, options: MpiOptions): MpiGroup {
  const { env } = process;
  if (env['OMPI_COMM_WORLD_SIZE'] === undefined && env['PMIX_RANK'] === undefined) {
    throw new UserError('this process was not started by MPI', {
      found: 'neither OMPI_COMM_WORLD_SIZE nor PMIX_RANK is set',
      expected: 'a process of mpirun, or of srun --mpi=pmix',
      next: `start it with mpirun -n ${options.world} ..., or use the transport tcp`,
    });
  }
  const group = open(module, options);
  try {
    if (group.rank !== options.rank || group.world !== options.world) {
      throw new UserError('MPI and the environment do not agree on who this process is', {
        found: `rank ${group.rank} of ${group.world} by MPI`,
        expected: `rank ${options.rank} of ${options.world}`,
        next: 'start all ranks by one mpirun, and unset BELAY_RANK and BELAY_WORLD',
      });
    }
    const self: Introduction = { rank: group.rank, host: hostname(), hello: options.hello };
    const all = group
      .allGather(new TextEncoder().encode(JSON.stringify(self)))
      .map((bytes) => JSON.parse(new TextDecoder().decode(bytes)) as Introduction);
    group.hosts.splice(0, group.hosts.length, ...all.map(({ host }) => host));
    const differs = disagreement(all);
    if (differs) throw disagreementError(differs);
    return group;
  } catch (error) {
    group.close();
    throw error;
  }
}

function open(module: NativeModule, { heartbeatSeconds }: MpiOptions): MpiGroup {
  try {
    const { group, rank, world } = module.mpiOpen(Math.round(heartbeatSeconds * 1000));
    const hosts = Array.from({ length: world }, () => 'a host not yet known');
    return new MpiGroup(module, group, rank, world, hosts);
  } catch (cause) {
    throw new UserError('Open MPI could not be started', {
      found: errorText(cause),
      expected: 'the library libmpi.so.40 of Open MPI (release 2 to 5)',
      next:
        'install it (Debian: apt-get install openmpi-bin libopenmpi3; on a cluster: module load openmpi), ' +
        'or say where it is with BELAY_MPI_LIBRARY, or use the transport tcp',
      cause,
    });
  }
}
