#!/usr/bin/env bash
# A small Slurm on this machine for the tests: a controller and a few nodes.
#
#   cluster.sh nodes DIR N       every node in namespaces of its own (network, host name, processes), joined by a bridge
#   cluster.sh loopback DIR N    all nodes on 127.0.0.1, for machines that do not allow namespaces
#
# In the environment: GPUS=4 pretended ones per node, REST=1 for slurmrestd at DIR/slurmrestd.sock, ACCOUNTS=1 for slurmdbd
# on a MariaDB of its own, CONF for further lines of slurm.conf. Daemons of these run as other users: the folders above DIR must be open
# to them.
#
# Says `ready` once all nodes are idle, and runs until its input ends: nothing outlives who started it. Until then each line
# of the input is a command, answered by `done K` or `failed K` (K counts them; DIR/log/commands has what they said):
#   ctld-stop, ctld-start     the controller's daemon; jobs live on
#   slurmd-stop NODE, slurmd-start NODE
# and where nodes have namespaces
#   kill NODE, boot NODE      switch it off at once; start it anew
#   freeze NODE, thaw NODE    stop every process of it; let them go on
#   cut NODE, mend NODE       pull its network cable; put it back
#   throttle NODE KBIT        what it sends goes at so many kilobits per second; 0 for full speed. (Latency needs netem,
#                             which many kernels of virtual machines lack.)
# DIR gets the configuration, logs, the file of completed jobs (log/jobcomp) and, for each host (ctl, n1, n2, ...), a file
# HOST.pid: the process number of its first process, which brings the host down when it is killed. That of ctl counts in
# the caller's /proc, those of nodes in ctl's. Clients need SLURM_CONF=DIR/slurm.conf, and in the first form must run inside ctl:
#   nsenter -t $(cat DIR/ctl.pid) -n -u -m -i -p srun ...
#
# Does not: measure use.
set -euo pipefail

mode=$1 dir=$2 nodes=$3
gpus=${GPUS:-0} rest=${REST:-0} accounts=${ACCOUNTS:-0}
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
  mkdir -p "$dir"/{state,spool,munge,log,gpus}
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
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp
CONF
    [ -z "${CONF:-}" ] || echo "$CONF"
    local gres=
    if [ "$gpus" -gt 0 ]; then
      # Slurm wants device files; copies of /dev/null will do.
      for ((i = 0; i < gpus; i++)); do mknod -m 666 "$dir/gpus/gpu$i" c 1 3; done
      echo "Name=gpu Type=gh200 File=$dir/gpus/gpu[0-$((gpus - 1))]" > "$dir/gres.conf"
      echo "GresTypes=gpu"
      gres=" Gres=gpu:gh200:$gpus Feature=gh200"
    fi
    if [ "$rest" = 1 ]; then
      (umask 077; dd if=/dev/urandom of="$dir/state/jwt.key" bs=32 count=1 status=none)
      echo "AuthAltTypes=auth/jwt"
      echo "AuthAltParameters=jwt_key=$dir/state/jwt.key"
    fi
    if [ "$accounts" = 1 ]; then
      cat <<CONF
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=$address
AccountingStoragePort=$((port + 100))
AccountingStoragePass=$dir/munge/socket
AccountingStoreFlags=job_comment
CONF
    fi
    [ "$mode" = nodes ] || echo "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny"
    for ((i = 1; i <= nodes; i++)); do
      local at="NodeAddr=$(address_of "$i")"
      [ "$mode" = nodes ] || at="NodeHostname=$controller NodeAddr=127.0.0.1 Port=$((port + i))"
      echo "NodeName=n$i $at CPUs=4 RealMemory=1000$gres State=UNKNOWN"
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

# Database and its daemon for accounts, both on the controller's host.
start_accounts() {
  local port; port=$(sed -n 's/^AccountingStoragePort=//p' "$dir/slurm.conf")
  mkdir -p "$dir/sql"
  chown mysql "$dir/sql"
  mariadb-install-db --user=mysql --datadir="$dir/sql" --auth-root-authentication-method=socket --skip-test-db \
    --skip-name-resolve >"$dir/log/mariadb" 2>&1
  # mysql has to reach its socket, which must not be longer than 107 bytes.
  chmod 755 "$dir"
  mariadbd --no-defaults --user=mysql --datadir="$dir/sql" --socket="$dir/sql/s" --skip-networking \
    --pid-file="$dir/sql/pid" --innodb-buffer-pool-size=64M --innodb-log-file-size=16M --innodb-lock-wait-timeout=900 \
    --innodb-flush-log-at-trx-commit=0 </dev/null >>"$dir/log/mariadb" 2>&1 &
  until_ok 30 mariadb --no-defaults -S "$dir/sql/s" -e 'select 1'
  mariadb --no-defaults -S "$dir/sql/s" -e 'create database slurm_acct_db'
  (umask 077; cat > "$dir/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
DbdHost=localhost
DbdPort=$port
SlurmUser=$(id -un)
PidFile=$dir/slurmdbd.pid
LogFile=$dir/log/slurmdbd
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$(id -un)
StorageLoc=slurm_acct_db
CommitDelay=1
CONF
  )
  # Its library of MariaDB looks here for the socket.
  MYSQL_UNIX_PORT=$dir/sql/s slurmdbd -D </dev/null >/dev/null 2>&1 &
  until_ok 30 sacctmgr -n show cluster
}

start_rest() {
  # It refuses to run as root. Who asks says with a token who they are.
  chmod 755 "$dir"
  mkdir -p "$dir/rest"
  chown nobody "$dir/rest"
  local nobody=(setpriv --reuid=nobody --regid=nogroup --clear-groups slurmrestd)
  # Plugins for accounts end it where there are none.
  local kinds='openapi/v[0-9.]*'
  [ "$accounts" = 0 ] || kinds='openapi/[dbv0-9.]*'
  SLURM_JWT=daemon "${nobody[@]}" -a rest_auth/jwt -s "$("${nobody[@]}" -s list 2>&1 | grep -o "$kinds" | paste -sd,)" \
    "unix:$dir/rest/socket" </dev/null >>"$dir/log/slurmrestd" 2>&1 &
  until_ok 10 test -S "$dir/rest/socket"
}

# Whether a process is there no more, or only its exit code is.
is_gone() { [ ! -e "/proc/$1" ] || grep -q '^State:.Z' "/proc/$1/status"; }

inside() { # NODE COMMAND...
  nsenter -t "$(cat "$dir/$1.pid")" -n -u -m -i -p -- "${@:2}"
}

# What each command of the input does. All are called by serve, where a failure does not end the script.
do_ctld_stop() {
  local pid; pid=$(cat "$dir/slurmctld.pid")
  kill "$pid" && until_ok 20 is_gone "$pid"
}
do_ctld_start() {
  # In the foreground in the second form, so that it is our child to end.
  if [ "$mode" = loopback ]; then slurmctld -D </dev/null >/dev/null 2>&1 & else slurmctld; fi
  until_ok 20 sh -c 'scontrol ping | grep -q " UP"'
}
do_slurmd_stop() {
  local pid; pid=$(cat "$dir/slurmd.$1.pid")
  if [ "$mode" = loopback ]; then kill "$pid" && until_ok 20 is_gone "$pid"; return; fi
  inside "$1" sh -c "kill $pid && while [ -e /proc/$pid ]; do sleep 0.05; done"
}
do_slurmd_start() {
  if [ "$mode" = loopback ]; then slurmd -D -N "$1" </dev/null >/dev/null 2>&1 & else inside "$1" slurmd -N "$1"; fi
}
do_kill() { kill -KILL "$(cat "$dir/$1.pid")"; }
do_boot() {
  local i=${1#n}
  rm -f "$dir/$1.pid"
  # The cable goes with the node's network, which the kernel takes down when it has time.
  ip link delete "to-$1" 2>/dev/null
  until_ok 10 sh -c "! ip link show to-$1" && start_node "$i" -c && join_node "$i"
}
processes_of() { # NODE
  local space process
  space=$(readlink "/proc/$(cat "$dir/$1.pid")/ns/pid")
  for process in /proc/[0-9]*; do
    [ "$(readlink "$process/ns/pid" 2>/dev/null)" != "$space" ] || echo "${process#/proc/}"
  done
}
do_freeze() {
  local all= now=none
  # Until a look finds none that was not there in the last: one may have been born meanwhile.
  while [ "$now" != "$all" ]; do
    all=$now
    now=$(processes_of "$1")
    kill -STOP $now 2>/dev/null
  done
}
do_thaw() { kill -CONT $(processes_of "$1") 2>/dev/null; }
do_cut() { inside "$1" ip link set eth0 down; }
do_mend() { inside "$1" ip link set eth0 up; }
do_throttle() {
  if [ "$2" = 0 ]; then inside "$1" tc qdisc delete dev eth0 root; return; fi
  inside "$1" tc qdisc replace dev eth0 root tbf rate "$2kbit" burst 4kb latency 2s
}

# Says `ready` when the nodes are, then does what its input says until that ends.
serve() {
  local count=0 command arguments
  until_ok 20 sh -c "[ \"\$(sinfo -h -t idle -o %D)\" = $nodes ]"
  [ "$rest" = 0 ] || start_rest
  echo ready
  while read -r command arguments; do
    count=$((count + 1))
    echo "$count: $command $arguments" >>"$dir/log/commands"
    if "do_${command//-/_}" $arguments </dev/null >>"$dir/log/commands" 2>&1; then echo "done $count"; else echo "failed $count"; fi
  done
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

start_node() { # I [OPTION OF SLURMD]
  "${apart[@]}" bash "$0" node "$dir" "$1" "${2:-}" </dev/null >>"$dir/log/n$1.out" 2>&1 &
}
# A node that boots again keeps its hardware address, or the others would send to the old one until they ask again.
join_node() { # I
  until_ok 10 test -e "$dir/n$1.pid" &&
    ip link add "to-n$1" type veth peer name eth0 address "$(printf '02:00:00:00:00:%02x' "$1")" netns "$(cat "$dir/n$1.pid")" &&
    ip link set "to-n$1" master bridge up
}

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
    [ "$accounts" = 0 ] || start_accounts
    slurmctld -c
    for ((i = 1; i <= nodes; i++)); do start_node "$i"; done
    for ((i = 1; i <= nodes; i++)); do join_node "$i"; done
    serve
    ;;
  node)
    become "n$nodes"
    until_ok 10 ip link show eth0
    ip address add "$(address_of "$nodes")/24" dev eth0
    ip link set eth0 up
    until_ok 10 test -e "$dir/slurmctld.pid"
    slurmd ${4:-} -N "n$nodes"
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
    [ "$accounts" = 0 ] || start_accounts
    slurmctld -c -D </dev/null >/dev/null 2>&1 &
    for ((i = 1; i <= nodes; i++)); do slurmd -D -N "n$i" </dev/null >/dev/null 2>&1 & done
    serve
    ;;
  *)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
