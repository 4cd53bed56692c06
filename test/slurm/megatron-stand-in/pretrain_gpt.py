# A STAND-IN for Megatron-LM's pretrain_gpt.py: it trains nothing. It keeps Megatron's files, triggers, signals and exit
# codes (checkpointing.py and training.py of swiss-ai/Megatron-LM), so that a chain of jobs around it can be tested.
#
# Every rank meets rank 0 at MASTER_ADDR:MASTER_PORT once an iteration, as collectives would. The "state" is a hash over
# everything an iteration depends on (the state before, its number, seed and names of data), so a chain that lost or repeated a step,
# or took the wrong data, ends with another one. STAND_IN_SECONDS is the time of an iteration, STAND_IN_SAVE_SECONDS
# that of a save; STAND_IN_ASSERT=1 fails while it sets up.
#
# Differs from Megatron: ranks agree on a signal (there each looks at its own flag), a save is not in the background, and an
# unfinished checkpoint folder in the way is an error (there a warning, and files are written between what is there).
import argparse, hashlib, json, os, signal, socket, struct, sys, time
from pathlib import Path

parser = argparse.ArgumentParser()
for name in ("save", "load", "trigger-path", "tensorboard-dir"):
    parser.add_argument("--" + name, required=True)
for name in ("save-interval", "train-iters", "train-samples", "global-batch-size", "exit-interval", "seed", "log-interval"):
    parser.add_argument("--" + name, type=int)
parser.add_argument("--rampup-batch-size", nargs=3, type=int)
parser.add_argument("--data-path", nargs="+", required=True)
for name in ("finetune", "no-load-rng", "exit-signal-handler"):
    parser.add_argument("--" + name, action="store_true")
args, _ = parser.parse_known_args()

rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
pause, save_pause = (float(os.environ.get(name, "0")) for name in ("STAND_IN_SECONDS", "STAND_IN_SAVE_SECONDS"))
exit_trigger, save_trigger = (Path(args.trigger_path) / name for name in ("exit", "save"))
tracker = "latest_checkpointed_iteration.txt"

# Caches are made as compilers would make them.
for name in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
    os.makedirs(os.environ[name], exist_ok=True)
    Path(os.environ[name], "kernel-%d" % rank).touch()

asked = {"exit": False}
if args.exit_signal_handler:
    signal.signal(signal.SIGUSR2, lambda *_: asked.update(exit=True))

# A star of sockets: sums one number of every rank, which is all that agreeing and a barrier need.
peers = []
if rank == 0:
    listener = socket.create_server(("", int(os.environ["MASTER_PORT"])))
    listener.settimeout(60)
    peers = [listener.accept()[0] for _ in range(world - 1)]
else:
    for attempt in range(600):
        try:
            peers = [socket.create_connection((os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])), 60)]
            break
        except OSError:
            time.sleep(0.1)
for peer in peers:
    peer.settimeout(60)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def receive(peer):
    data = b""
    while len(data) < 8:
        part = peer.recv(8 - len(data))
        if not part:
            raise ConnectionError("the socket was closed")
        data += part
    return struct.unpack(">q", data)[0]


# A rank that died is a closed socket, a reset one or a broken pipe, as it happens: one word for all of them.
def total(value):
    try:
        return sum_of_ranks(value)
    except OSError as error:
        raise RuntimeError("a rank is gone") from error


def sum_of_ranks(value):
    if rank == 0:
        value += sum(receive(peer) for peer in peers)
        for peer in peers:
            peer.sendall(struct.pack(">q", value))
        return value
    peers[0].sendall(struct.pack(">q", value))
    return receive(peers[0])


def folder(root, iteration):
    return Path(root) / "iter_{:07d}".format(iteration)


def save(iteration, consumed, state):
    target = folder(args.save, iteration)
    if rank == 0:
        assert not target.exists(), "%s is in the way" % target
        target.mkdir(parents=True)
    total(0)
    for part in range(2):
        (target / "__{}_{}.distcp".format(rank, part)).write_text(state)
        time.sleep(save_pause / 2)
    total(0)
    if rank == 0:
        (target / "common.json").write_text(json.dumps({"iteration": iteration, "consumed": consumed, "state": state}))
        Path(args.save, tracker).write_text(str(iteration))
    total(0)


try:
    assert os.environ.get("STAND_IN_ASSERT") != "1", "the stand-in was told to fail"
    iteration, consumed, state = 0, 0, ""
    latest = Path(args.load, tracker)
    if latest.exists() and latest.read_text() != "release":
        found = json.loads((folder(args.load, int(latest.read_text())) / "common.json").read_text())
        state = found["state"]
        if not args.finetune:
            iteration, consumed = found["iteration"], found["consumed"]
except AssertionError:
    exit_trigger.touch()
    raise


def batch():
    if args.rampup_batch_size and consumed < args.rampup_batch_size[2]:
        return args.rampup_batch_size[0]
    return args.global_batch_size


def is_over():
    if args.train_iters:
        return iteration >= args.train_iters
    return consumed + batch() > args.train_samples


if rank == 0:
    print("begins at iteration %d of %s with seed %d, world size %d" % (iteration, args.save, args.seed, world), flush=True)
log = Path(args.tensorboard_dir)
log.mkdir(parents=True, exist_ok=True)
while not is_over():
    time.sleep(pause)
    iteration, consumed = iteration + 1, consumed + batch()
    text = "%s %d %d %d %s" % (state, iteration, consumed, args.seed, " ".join(map(os.path.basename, args.data_path)))
    state = hashlib.sha256(text.encode()).hexdigest()
    if rank == 0:
        with open(log / "losses.txt", "a") as losses:
            losses.write("%d %s\n" % (iteration, state))
    signalled = total(1 if asked["exit"] else 0) > 0
    # Triggers are looked at once, by rank 0, so that no rank sees what another does not.
    triggers = total((save_trigger.exists() + 2 * exit_trigger.exists()) if rank == 0 else 0)
    saved = iteration % args.save_interval == 0
    if signalled:
        save(iteration, consumed, state)
        sys.exit(0)
    if saved:
        save(iteration, consumed, state)
    if args.exit_interval and iteration % args.exit_interval == 0:
        if not saved:
            save(iteration, consumed, state)
        sys.exit(0)
    if triggers & 1:
        if not saved:
            save(iteration, consumed, state)
        if rank == 0:
            save_trigger.unlink()
        total(0)
    if triggers & 2:
        sys.exit(0)
if rank == 0:
    exit_trigger.touch()
if iteration % args.save_interval != 0:
    save(iteration, consumed, state)
