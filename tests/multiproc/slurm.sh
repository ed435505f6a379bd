#!/bin/sh
# slurm.sh DIR PORT PORT COMMAND...: a Slurm cluster of this host alone, with its files in DIR, for
# as long as COMMAND runs. Needs root.
set -eu
dir=$1 controller=$2 worker=$3
shift 3
mkdir -p "$dir/state" "$dir/spool" "$dir/munge"
chmod 700 "$dir/munge"
head -c 1024 /dev/urandom >"$dir/munge/key"
chmod 600 "$dir/munge/key"
cat >"$dir/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=$(hostname)
SlurmctldPort=$controller
SlurmdPort=$worker
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge/socket
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
NodeName=$(hostname) CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
EOF
export SLURM_CONF="$dir/slurm.conf"
daemons=
# A step's own daemon, whose socket is in the spool, reports to the others when all is done.
stop() {
    tries=100
    while [ $tries -gt 0 ] && [ -n "$(find "$dir/spool" -type s)" ]; do
        tries=$((tries - 1))
        sleep 0.1
    done
    # shellcheck disable=SC2086 # a list of words
    kill $daemons 2>/dev/null || :
    wait || :
}
trap stop EXIT
munged --foreground --force --socket="$dir/munge/socket" --key-file="$dir/munge/key" \
    --pid-file="$dir/munge/pid" --log-file="$dir/munge/log" --seed-file="$dir/munge/seed" \
    >"$dir/munged.log" 2>&1 &
daemons=$!
slurmctld -D >"$dir/slurmctld.log" 2>&1 &
daemons="$daemons $!"
slurmd -D >"$dir/slurmd.log" 2>&1 &
daemons="$daemons $!"
tries=200
until sinfo --noheader --format %t 2>/dev/null | grep -q idle; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || {
        tail -n 20 "$dir"/*.log >&2
        exit 1
    }
    sleep 0.1
done
"$@"
