#!/usr/bin/env bash
# A small Slurm on this machine for test/slurm.test.ts: a controller and a few nodes.
#
#   cluster.sh nodes DIR N       every node in namespaces of its own (network, host name, processes), joined by a bridge
#   cluster.sh loopback DIR N    all nodes on 127.0.0.1, for machines that do not allow namespaces
#
# Says `ready` once all nodes are idle, and runs until its input ends: nothing outlives who started it. DIR gets the
# configuration, logs and, for each host (ctl, n1, n2, ...), a file HOST.pid: the process number of its first process,
# which brings the host down when it is killed. That of ctl counts in the caller's /proc, those of nodes in ctl's.
# Clients need SLURM_CONF=DIR/slurm.conf, and in the first form must run inside ctl:
#   nsenter -t $(cat DIR/ctl.pid) -n -u -m -i -p srun ...
#
# Does not: keep accounts, measure use, pretend to have GPUs.
set -euo pipefail

mode=$1 dir=$2 nodes=$3
network=10.77.0
export SLURM_CONF=$dir/slurm.conf

address_of() { echo "$network.$((10 + $1))"; }

# until_ok SECONDS COMMAND...
until_ok() {
  local end=$((SECONDS + $1)); shift
  until "$@" >/dev/null 2>&1; do
    if [ "$SECONDS" -gt "$end" ]; then echo "cluster.sh: waited in vain for: $*" >&2; return 1; fi
    sleep 0.05
  done
}

write_configuration() {
  local i controller=ctl address=$network.1 port=6817
  if [ "$mode" = loopback ]; then
    controller=$(hostname -s) address=127.0.0.1 port=$((20000 + $$ % 20000))
  fi
  mkdir -p "$dir"/{state,spool,munge,log}
  chmod 755 "$dir/munge"
  (umask 077; dd if=/dev/urandom of="$dir/munge/key" bs=1024 count=1 status=none)
  {
    cat <<CONF
ClusterName=belay
SlurmctldHost=$controller($address)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
# cred_expire is also how long a job that is put back into the queue waits there: 120 s unless set, and at least 5.
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket,cred_expire=5
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.%n.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/%n
MailProg=/bin/true
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0,requeue_delay=0
MpiDefault=none
SlurmctldTimeout=10
SlurmdTimeout=3
MessageTimeout=3
TCPTimeout=2
KillWait=2
CompleteWait=0
UnkillableStepTimeout=10
ReturnToService=1
CONF
    [ "$mode" = nodes ] || echo "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    for ((i = 1; i <= nodes; i++)); do
      local at="NodeAddr=$(address_of "$i")"
      [ "$mode" = nodes ] || at="NodeHostname=$controller NodeAddr=127.0.0.1 Port=$((port + i))"
      echo "NodeName=n$i $at CPUs=4 RealMemory=1000 State=UNKNOWN"
    done
    echo "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES:8"
  } > "$dir/slurm.conf"
  {
    echo "127.0.0.1 localhost"
    echo "$network.1 ctl"
    for ((i = 1; i <= nodes; i++)); do echo "$(address_of "$i") n$i"; done
  } > "$dir/hosts"
}

munge=(munged --force --key-file="$dir/munge/key" --socket="$dir/munge/socket" --pid-file="$dir/munge/pid"
  --log-file="$dir/munge/log" --seed-file="$dir/munge/seed")

# Says `ready` when the nodes are, then waits for the end of the input.
serve() {
  until_ok 20 sh -c "[ \"\$(sinfo -h -t idle -o %D)\" = $nodes ]"
  echo ready
  exec 1>&-
  cat > /dev/null
}

# As the first process of new namespaces. /proc is still the one of who made them: its numbers are what they use.
become() { # NAME
  local pid rest
  read -r pid rest < /proc/self/stat
  mount -t proc proc /proc
  mount --bind "$dir/hosts" /etc/hosts
  hostname "$1"
  ip link set lo up
  echo "$pid" > "$dir/$1.pid.new"
  mv "$dir/$1.pid.new" "$dir/$1.pid"
}
apart=(unshare --net --uts --mount --ipc --pid --fork --kill-child)

case $mode in
  nodes)
    write_configuration
    exec "${apart[@]}" bash "$0" controller "$dir" "$nodes"
    ;;
  controller)
    become ctl
    ip link add bridge type bridge
    ip address add "$network.1/24" dev bridge
    ip link set bridge up
    "${munge[@]}"
    slurmctld -c
    for ((i = 1; i <= nodes; i++)); do
      "${apart[@]}" bash "$0" node "$dir" "$i" </dev/null >>"$dir/log/n$i.out" 2>&1 &
    done
    for ((i = 1; i <= nodes; i++)); do
      until_ok 10 test -e "$dir/n$i.pid"
      ip link add "to-n$i" type veth peer name eth0 netns "$(cat "$dir/n$i.pid")"
      ip link set "to-n$i" master bridge up
    done
    serve
    ;;
  node)
    become "n$nodes"
    until_ok 10 ip link show eth0
    ip address add "$(address_of "$nodes")/24" dev eth0
    ip link set eth0 up
    until_ok 10 test -e "$dir/slurmctld.pid"
    slurmd -N "n$nodes"
    # The first process of a host stays, and buries the orphans.
    while :; do sleep 3600 & wait $!; done
    ;;
  loopback)
    write_configuration
    trap 'scancel --user="$(id -un)" --quiet; until_ok 5 sh -c "[ -z \"\$(squeue -h)\" ]" || true
      kill $(jobs -p) 2>/dev/null; wait' EXIT
    # All in the foreground, so that they are our children to end.
    "${munge[@]}" --foreground </dev/null >"$dir/log/munged" 2>&1 &
    until_ok 10 test -S "$dir/munge/socket"
    slurmctld -c -D </dev/null >/dev/null 2>&1 &
    for ((i = 1; i <= nodes; i++)); do slurmd -D -N "n$i" </dev/null >/dev/null 2>&1 & done
    serve
    ;;
  *)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
