#!/usr/bin/env bash
# Shows fanin at work on this machine: a collector, an agent that follows the logs
# which are here, and the one file that all lines end up in. Until Ctrl-C, or for
# the time given: scripts/demo.sh [15s]. With NATS=1 the lines go through a JetStream
# stream of a NATS server of its own.
set -euo pipefail
set -m # Ctrl-C reaches this script alone, which then tells the end in order
cd "$(dirname "${BASH_SOURCE[0]}")/.."

for_time=${1:-}
dir=$PWD/build/run
collector=$PWD/build/fanin-collector
agent=$PWD/build/fanin-agent
log=$dir/all.log
live=$dir/clock.log
pids=()

say() { printf '\n== %s\n' "$*"; }

running() { kill -0 "$1" 2>/dev/null; }

# stop PID: asks it to leave, and waits until it did.
stop() {
	kill -- "-$1" 2>/dev/null || return 0 # with set -m, each has a group of its own
	wait "$1" 2>/dev/null || true
}

leave() {
	trap - INT TERM EXIT
	for pid in "${pids[@]:-}"; do [ -z "$pid" ] || stop "$pid"; done
}
trap leave EXIT

# await FILE PATTERN PID: until the pattern is in the file; fails when PID ends first.
await() {
	until grep -q "$2" "$1" 2>/dev/null; do
		running "$3" || { cat "$1" >&2; exit 1; }
		sleep 0.05
	done
}

# The socket for status lies in the state directory, and names of sockets are
# short; a deep checkout keeps its state elsewhere.
state=$dir
[ ${#dir} -lt 80 ] || state=$(mktemp -d "${TMPDIR:-/tmp}/fanin-run.XXXXXX")

rm -rf "$dir"
mkdir -p "$dir"

cat >"$dir/collector.toml" <<END
[collector]
state = "$state/collector"
[collector.log]
path = "$log"
[[collector.tcp]]
listen = "127.0.0.1:0"
END
to=''
stream=''
if [ -n "${NATS:-}" ]; then
	stream=LOGS
	port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])' 2>/dev/null || echo 14222)
	to=nats://127.0.0.1:$port
	say "nats-server: with JetStream, $to"
	"${GO:-go}" build -o "$dir/nats-server" github.com/nats-io/nats-server/v2
	"$dir/nats-server" -a 127.0.0.1 -p "$port" -js -sd "$dir/nats" 2>"$dir/nats.err" &
	pids+=("$!")
	await "$dir/nats.err" 'Server is ready' "$!"
	printf '[[collector.nats]]\nurl = "%s"\nsubjects = ["logs.>"]\nstream = "%s"\ncreate = true\n' "$to" "$stream" >>"$dir/collector.toml"
fi

say "collector: one file, $log"
"$collector" --config "$dir/collector.toml" 2>"$dir/collector.err" &
collector_pid=$!
pids+=("$collector_pid")
await "$dir/collector.err" '^writing' "$collector_pid"
cat "$dir/collector.err"
address=$(sed -n 's/^listening tcp //p' "$dir/collector.err" | head -n1)

# What this machine has, newest first; text only, at most 20 files.
files=()
while IFS= read -r f; do
	if [ -r "$f" ] && [ -s "$f" ] && LC_ALL=C grep -Iq . "$f" 2>/dev/null; then files+=("$f"); fi
	if [ "${#files[@]}" -ge 20 ]; then break; fi
done < <(find /var/log -type f \( -name '*.log' -o -name syslog -o -name messages \) 2>/dev/null | xargs -r -d '\n' ls -1t 2>/dev/null)
[ "${#files[@]}" -gt 0 ] || echo "no readable logs under /var/log: the live source alone"

# Logs may stand still for hours, so a source that never does: a line a second.
(
	trap - EXIT
	n=0
	while true; do
		n=$((n + 1))
		echo "line $n of a live source made for this demonstration, at $(date +%T)"
		sleep 1
	done
) >"$live" &
pids+=("$!")

say "agent: follows ${#files[@]} logs of this machine, and a live source that says one line a second"
printf '[agent.nats]\nstream = "%s"\n' "$stream" >"$dir/agent.toml"
"$agent" --config "$dir/agent.toml" --to "${to:-$address}" --id demo --state "$state/agent" ${files[@]+"${files[@]}"} "$live" 2>"$dir/agent.err" &
agent_pid=$!
pids+=("$agent_pid")
await "$dir/agent.err" '^to ' "$agent_pid"
grep -v '^no file matches' "$dir/agent.err" || true

# All that was in the logs already comes at once; what is worth watching follows.
for _ in $(seq 100); do
	"$agent" status --to "$address" --state "$state/agent" >"$dir/agent.status" 2>/dev/null || true
	grep -q 'behind=' "$dir/agent.status" && ! grep -q 'behind=[1-9]' "$dir/agent.status" && break
	sleep 0.1
done
how_long="until Ctrl-C"
[ -z "$for_time" ] || how_long="for $for_time"
say "$(wc -l <"$log") lines are in the file; now, $how_long, as they arrive: tail -F $log"
tail -n 3 -F "$log" 2>/dev/null &
tail_pid=$!
pids+=("$tail_pid")

trap : INT TERM # ends the wait below
if [ -n "$for_time" ]; then
	sleep "$for_time" &
	pids+=("$!")
	wait "$!" || true
else
	wait "$collector_pid" || true
fi
trap '' INT TERM
stop "$tail_pid"

say "agent status"
"$agent" status --to "$address" --state "$state/agent" || true
say "collector status"
"$collector" status --config "$dir/collector.toml" || true
say "verify: the whole log against its ledger"
"$collector" verify --config "$dir/collector.toml"
say "stopping: the agent, then the collector"
stop "$agent_pid"
stop "$collector_pid"
tail -qn1 "$dir/agent.err" "$dir/collector.err"
echo
echo "all lines are in $log"
