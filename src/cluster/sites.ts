// The site profiles that belay ships: any Slurm cluster, and Clariden on Alps.
//
// Facts of Clariden are those of CSCS's documentation (cscs-docs, August 2026), of the launch scripts that Apertus was
// trained with (pretrain-code) and of its report; each value says which. Where they differ the scripts win for what the
// training sets and the documentation wins for what the site enforces.
//
// Does not: know what a profile is (site.ts).
import { existsSync } from 'node:fs';
import { basename, resolve } from 'node:path';
import { closest, UserError } from '../base/errors.ts';
import { readJson } from '../base/json.ts';
import { overrideSite, parseSite, type Site, type SiteInput } from './site.ts';

const hour = 3600;

/** Slurm's own defaults (slurm.conf): a site that sets them otherwise does not say so. */
const slurmDefaults = { slurmdTimeoutSeconds: 300, killWaitSeconds: 30 } as const;

/** A cluster of which nothing is known but that it runs Slurm. */
const generic: SiteInput = {
  name: 'generic',
  about: 'any Slurm cluster; its own limits are found by sbatch',
  node: {
    gpus: 0,
    gpu: null,
    gpuMemoryBytes: null,
    cpus: null,
    cpusPerTask: null,
    memoryMegabytes: null,
    tasksPerNode: 1,
    wattsPerModuleCap: null,
    wattsPerModuleMean: null,
    prefix: [],
    source: 'our choice',
  },
  slurm: {
    constraint: null,
    warningSeconds: 60,
    warningSignal: 'USR2',
    ...slurmDefaults,
    source: 'our choice of the warning; defaults of slurm.conf',
  },
  partitions: { default: { slurmName: null, timeSeconds: null, source: 'not known' } },
  defaultPartition: 'default',
  maintenance: null,
  environment: {},
  workarounds: {},
  container: { engine: 'none', annotations: {}, mounts: [], scratch: '/tmp', source: 'our choice' },
  storage: {
    shared: {
      path: '$PWD',
      kind: 'unknown',
      media: 'unknown',
      cleanupDays: null,
      uses: ['home', 'code', 'images', 'indices', 'tokens', 'checkpoints', 'logs', 'archive'],
      source: 'not known: the folder that the campaign is in',
    },
  },
  rendezvousPort: 29_500,
};

const script = 'pretrain-code pretraining/submit_apertus_{8b,70b}.sh';
const edf = 'pretrain-code long_context/container/NGC25_01.toml';
const ncclDocs = 'cscs-docs docs/software/communication/nccl_env_vars';
const ncclIssues = 'cscs-docs docs/software/communication/nccl.md';
const pytorchDocs = 'cscs-docs docs/software/ml/pytorch.md';
const clusterDocs = 'cscs-docs docs/clusters/clariden.md';
const storageDocs = 'cscs-docs docs/platforms/mlp/index.md, docs/alps/storage.md';

/** The machine-learning cluster of Alps, on which Apertus was trained. */
const clariden: SiteInput = {
  name: 'clariden',
  about: 'Clariden on Alps (CSCS): 4 GH200 a node, Slingshot 11',
  node: {
    gpus: 4,
    gpu: 'GH200',
    gpuMemoryBytes: 96e9,
    cpus: 288,
    cpusPerTask: 36,
    memoryMegabytes: 460_000,
    tasksPerNode: 4,
    // The cap was raised from 624 W on 2025-03-12; the mean is the report's assumption for its energy (section 6.2).
    wattsPerModuleCap: 660,
    wattsPerModuleMean: 560,
    // Nodes 0 to 3 are the CPUs' memories; the others are those of the GPUs.
    prefix: ['numactl', '--membind=0-3'],
    source: `${script}; cscs-docs docs/alps/hardware.md, docs/running/slurm.md (power); Apertus report 6.2`,
  },
  slurm: {
    // One page of the documentation calls the second feature nvidia_vboost_enable; sinfo and the scripts have this name.
    constraint: 'thp_never&nvidia_vboost_enabled',
    warningSeconds: 600,
    warningSignal: 'USR2',
    ...slurmDefaults,
    source: `${script}; cscs-docs docs/running/slurm.md; timeouts are Slurm's defaults, the site's are not published`,
  },
  partitions: {
    normal: { slurmName: 'normal', timeSeconds: 12 * hour, exclusive: true, source: clusterDocs },
    debug: {
      slurmName: 'debug',
      timeSeconds: 1.5 * hour,
      maxNodes: 4,
      maxNodeMinutes: 90,
      maxRunning: 1,
      maxSubmitted: 2,
      exclusive: true,
      source: clusterDocs,
    },
    low: { slurmName: 'low', timeSeconds: 24 * hour, exclusive: true, source: clusterDocs },
    xfer: { slurmName: 'xfer', timeSeconds: 24 * hour, maxNodes: 1, source: clusterDocs },
    // The name is not published and the scripts have no --partition; a profile of one's own can give it.
    large: {
      slurmName: null,
      timeSeconds: 48 * hour,
      exclusive: true,
      source: `Apertus report 6.3.5: a partition of the campaign's own, with spare nodes; ${script}`,
    },
  },
  defaultPartition: 'normal',
  maintenance: 'Wednesday 8-12 CET, by a reservation',
  environment: {
    CUDA_CACHE_DISABLE: { value: '1', source: script, why: 'no compiled kernels on shared file systems' },
    CUDA_DEVICE_MAX_CONNECTIONS: { value: '1', source: script, why: 'order of communication and computation' },
    FI_CXI_DEFAULT_CQ_SIZE: { value: '131072', source: ncclDocs },
    FI_CXI_DEFAULT_TX_SIZE: { value: '16384', source: `${script}; ${edf}; ${ncclDocs}` },
    FI_CXI_DISABLE_HOST_REGISTER: { value: '1', source: ncclDocs },
    FI_CXI_RDZV_GET_MIN: { value: '0', source: `${script}; ${edf}`, why: 'against hangs with eager messages' },
    FI_CXI_RX_MATCH_MODE: { value: 'software', source: ncclDocs },
    FI_CXI_SAFE_DEVMEM_COPY_THRESHOLD: { value: '16777216', source: `${script}; ${edf}` },
    FI_MR_CACHE_MONITOR: { value: 'userfaultfd', source: ncclDocs },
    HF_HUB_OFFLINE: { value: '1', source: script },
    MPICH_GPU_SUPPORT_ENABLED: { value: '0', source: `${ncclIssues}; ${pytorchDocs}`, why: 'deadlocks beside NCCL' },
    NCCL_CROSS_NIC: { value: '1', source: ncclDocs },
    NCCL_NET: { value: 'AWS Libfabric', source: ncclDocs, why: 'fails where the plugin is missing, not to TCP' },
    NCCL_NET_FORCE_FLUSH: { value: '1', source: `${script}; ${edf}` },
    NCCL_NET_GDR_LEVEL: { value: 'PHB', source: ncclDocs },
    NCCL_PROTO: { value: '^LL128', source: ncclDocs },
    NCCL_RAS_ENABLE: { value: '0', source: `${script}; ${edf}` },
    PMIX_MCA_psec: { value: '^munge', source: ncclIssues, why: 'Munge is not there in containers' },
    TORCH_NCCL_ASYNC_ERROR_HANDLING: { value: '1', source: `${script}; ${pytorchDocs}` },
    TORCH_NCCL_AVOID_RECORD_STREAMS: { value: '1', source: script },
    WANDB__FILE_STREAM_RETRY_MAX: { value: '10', source: script },
  },
  workarounds: {
    'nccl-hang': {
      FI_CXI_RDZV_EAGER_SIZE: { value: '0', source: ncclIssues },
      FI_CXI_RDZV_GET_MIN: { value: '0', source: ncclIssues },
      FI_CXI_RDZV_THRESHOLD: { value: '0', source: ncclIssues },
    },
    'nccl-log': { NCCL_DEBUG: { value: 'INFO', source: `${ncclIssues}; ${pytorchDocs}` } },
    'slow-point-to-point': { NCCL_NCHANNELS_PER_NET_PEER: { value: '4', source: ncclIssues } },
    segfault: {
      UCX_HANDLE_ERRORS: { value: 'none', source: pytorchDocs, why: 'lets the core show where it was' },
    },
  },
  container: {
    engine: 'edf',
    annotations: {
      'com.hooks.aws_ofi_nccl.enabled': 'true',
      'com.hooks.aws_ofi_nccl.variant': 'cuda12',
    },
    mounts: ['/capstor', '/iopsstor'],
    scratch: '/workspace',
    source: `${edf}; ${pytorchDocs}; ${script}`,
  },
  storage: {
    home: {
      path: '/users/$USER',
      kind: 'nfs',
      media: 'flash',
      cleanupDays: null,
      quotaBytes: 50e9,
      quotaFiles: 500_000,
      readBytesPerSecond: 38e9,
      writeBytesPerSecond: 11e9,
      uses: ['home', 'code'],
      source: `${storageDocs}; cscs-docs docs/storage/filesystems.md`,
    },
    iopsstor: {
      path: '/iopsstor/scratch/cscs/$USER',
      kind: 'lustre',
      media: 'flash',
      cleanupDays: 14,
      readBytesPerSecond: 782e9,
      writeBytesPerSecond: 393e9,
      uses: ['tokens', 'indices', 'images'],
      source: storageDocs,
    },
    capstor: {
      path: '/capstor/scratch/cscs/$USER',
      kind: 'lustre',
      media: 'disk',
      cleanupDays: 30,
      quotaBytes: 150e12,
      quotaFiles: 1_000_000,
      readBytesPerSecond: 1.19e12,
      writeBytesPerSecond: 1.09e12,
      uses: ['checkpoints', 'logs'],
      source: `${storageDocs}; cscs-docs docs/storage/filesystems.md`,
    },
    store: {
      path: '/capstor/store/cscs/swissai/$PROJECT',
      kind: 'lustre',
      media: 'disk',
      cleanupDays: null,
      jobsWrite: false,
      uses: ['archive'],
      source: storageDocs,
    },
  },
  rendezvousPort: 32_100,
};

/** The shipped profiles, checked. */
export const sites: Readonly<Record<'generic' | 'clariden', Site>> = {
  generic: parseSite(generic, 'generic'),
  clariden: parseSite(clariden, 'clariden'),
};

/**
 * A shipped profile by name, or a user's JSON file: `{"base": "clariden", ...}` replaces single values of the base
 * (`generic` where none is named); null takes a variable, partition or file system away.
 */
export function loadSite(nameOrPath: string): Site {
  const names = Object.keys(sites);
  if (Object.hasOwn(sites, nameOrPath)) return sites[nameOrPath as keyof typeof sites];
  if (!nameOrPath.endsWith('.json') && !existsSync(nameOrPath)) {
    const near = closest(nameOrPath, names);
    throw new UserError(`there is no site profile "${nameOrPath}"`, {
      expected: `${names.join(', ')}, or a .json file`,
      ...(near === undefined ? {} : { next: `did you mean ${near}?` }),
    });
  }
  const path = resolve(nameOrPath);
  const value = readJson(path, 'site profile');
  if (value === null || typeof value !== 'object' || Array.isArray(value)) {
    throw new UserError(`the site profile ${nameOrPath} is no JSON object`, {
      found: JSON.stringify(value).slice(0, 80),
    });
  }
  const { base = 'generic', ...changes } = value as { readonly base?: unknown };
  if (typeof base !== 'string' || !Object.hasOwn(sites, base)) {
    throw new UserError(`the site profile ${nameOrPath} builds on one that belay does not ship`, {
      found: `base ${JSON.stringify(base)}`,
      expected: names.join(', '),
    });
  }
  const named = { name: basename(path, '.json'), ...changes };
  return overrideSite(sites[base as keyof typeof sites], named, nameOrPath);
}
