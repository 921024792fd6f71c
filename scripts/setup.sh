#!/bin/sh
# Installs what the tests need beside Go, by apt and as root; otherwise says what
# is missing and goes on: tests that need it skip themselves and say so.
set -u

# command:package
wanted='gcc:gcc nc:netcat-openbsd logger:bsdutils python3:python3 openssl:openssl socat:socat
	mkfs.ext4:e2fsprogs chattr:e2fsprogs ps:procps gzip:gzip curl:curl systemd-analyze:systemd strace:strace
	redis-server:redis-server redis-cli:redis-tools logrotate:logrotate
	/lib/systemd/systemd-journal-remote:systemd-journal-remote skopeo:skopeo umoci:umoci'
# module:package, of Debian's Python: a worker needs msgpack, peers the others.
modules='msgpack:python3-msgpack redis:python3-redis zmq:python3-zmq'
# A package of npm that ships its binary, where there is npm.
zeromq=zeromq@6.8.0

cd "$(dirname "$0")/.." || exit 0

PATH=$PATH:/usr/sbin:/sbin
missing='' packages=''
look() {
	missing='' packages=''
	for pair in $wanted; do
		command -v "${pair%%:*}" >/dev/null 2>&1 && continue
		missing="$missing ${pair%%:*}"
		case " $packages " in *" ${pair#*:} "*) ;; *) packages="$packages ${pair#*:}" ;; esac
	done
	# The race detector links against the C library.
	if command -v gcc >/dev/null 2>&1 && ! echo '#include <stdlib.h>' | gcc -E - >/dev/null 2>&1; then
		missing="$missing libc-headers" packages="$packages libc6-dev"
	fi
	# Peers in C are built against libzmq.
	if command -v gcc >/dev/null 2>&1 && ! echo '#include <zmq.h>' | gcc -E - >/dev/null 2>&1; then
		missing="$missing zmq.h" packages="$packages libzmq3-dev"
	fi
	lacking=$modules
	if command -v /usr/bin/python3 >/dev/null 2>&1; then
		# shellcheck disable=SC2086 # a list of words
		lacking=$(/usr/bin/python3 -c 'import sys, importlib.util as u
print(*(p for p in sys.argv[1:] if not u.find_spec(p.split(":")[0])))' $modules) || lacking=$modules
	fi
	for pair in $lacking; do
		missing="$missing python3:${pair%%:*}" packages="$packages ${pair#*:}"
	done
}

# apt PACKAGE... installs, and starts nothing: a package that brings a service
# would start it at once, and at each start of the machine.
apt() {
	policy=''
	if [ ! -e /usr/sbin/policy-rc.d ] && printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d; then
		policy=/usr/sbin/policy-rc.d
		chmod 755 "$policy"
		trap 'rm -f "$policy"' EXIT
		trap 'exit 1' HUP INT TERM
	fi
	export DEBIAN_FRONTEND=noninteractive
	log=$(mktemp)
	{ apt-get install -y --no-install-recommends "$@" ||
		{ apt-get update && apt-get install -y --no-install-recommends "$@"; }; } >"$log" 2>&1 ||
		{ echo "setup: apt-get failed:" >&2; tail -n 5 "$log" >&2; }
	rm -f "$log"
	[ -z "$policy" ] || rm -f "$policy"
	case " $* " in *" redis-server "*) update-rc.d redis-server disable >/dev/null 2>&1 ;; esac
}

# rsyslog with its modules for ZeroMQ and Redis: as it is installed, else unpacked.
rsyslog() {
	command -v rsyslogd >/dev/null 2>&1 && ls /usr/lib/*/rsyslog/omczmq.so /usr/lib/*/rsyslog/omhiredis.so >/dev/null 2>&1 && return
	[ -e build/peers/rsyslog.complete ] && return
	command -v apt-get >/dev/null 2>&1 && scripts/peers.sh rsyslog >/dev/null 2>&1 && return
	echo "setup: missing: rsyslog with rsyslog-czmq and rsyslog-hiredis; tests that need them are skipped. On Debian: scripts/peers.sh rsyslog" >&2
}

# npm's zeromq, a libzmq of another version with a binding of its own.
zeromq() {
	command -v npm >/dev/null 2>&1 || return
	[ -e build/peers/npm/node_modules/zeromq/package.json ] && return
	mkdir -p build/peers/npm
	npm install --prefix build/peers/npm --ignore-scripts --no-audit --no-fund --silent "$zeromq" >/dev/null 2>&1 ||
		echo "setup: missing: npm's $zeromq; tests that need it are skipped" >&2
}

finish() {
	rsyslog
	zeromq
	exit 0
}

look
[ -z "$missing" ] && finish
if [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	case " $packages " in *" gcc "*) packages="$packages libc6-dev libzmq3-dev" ;; esac
	echo "setup: installing$packages" >&2
	# shellcheck disable=SC2086 # a list of words
	apt $packages
	look
	[ -z "$missing" ] && finish
fi
echo "setup: missing:$missing; tests that need them are skipped. On Debian, as root: apt-get install$packages" >&2
finish
