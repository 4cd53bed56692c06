#!/bin/sh
# A task of a job step: runs a command and writes its exit code to $EXITS/JOB.RANK, where the test also finds what became
# of tasks whose node cannot be reached any more. The rank $LATE, if any, begins once there is a file $EXITS/go.
#
# Does not: end by the signals that are meant for the command.
trap : USR2 TERM
while [ "$SLURM_PROCID" = "${LATE:-none}" ] && [ ! -e "$EXITS/go" ]; do sleep 0.05; done
"$@"
code=$?
echo "$code" > "$EXITS/$SLURM_JOB_ID.$SLURM_PROCID"
exit "$code"
