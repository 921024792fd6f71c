#!/bin/sh
# Installs what the tests need beside Go, by apt and as root; otherwise says what
# is missing and goes on: tests that need it skip themselves and say so.
set -u

# command:package
wanted='gcc:gcc nc:netcat-openbsd logger:bsdutils python3:python3 openssl:openssl socat:socat
	mkfs.ext4:e2fsprogs chattr:e2fsprogs ps:procps gzip:gzip curl:curl systemd-analyze:systemd strace:strace
	redis-server:redis-server redis-cli:redis-tools logrotate:logrotate
	/lib/systemd/systemd-journal-remote:systemd-journal-remote skopeo:skopeo umoci:umoci chromium:chromium
	lintian:lintian rpmlint:rpmlint rpm:rpm cpio:cpio mandoc:mandoc man:man-db zsh:zsh fish:fish mmdebstrap:mmdebstrap nsenter:util-linux'
# module:package, of Debian's Python: a worker needs msgpack, peers the others.
modules='msgpack:python3-msgpack redis:python3-redis zmq:python3-zmq graypy:python3-graypy'
# Packages of npm: a libzmq of another version with a binding of its own, and libraries
# that send syslog and GELF; what looks for pages that keep people out.
npm='zeromq@6.8.0 winston@3.19.0 winston-syslog@2.7.1 pino@10.4.0 pino-syslog@4.0.0 pino-socket@8.0.0 syslog-client@1.1.1
	gelf-pro@1.4.0 axe-core@4.14.1'

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

# unpacked PEER...: what of them scripts/peers.sh cannot bring.
unpacked() {
	for peer; do
		scripts/peers.sh "$peer" >/dev/null 2>&1 || printf ' %s' "$peer"
	done
}

# Programs of Debian that send lines, and Prometheus' promtool, unpacked beside what is
# installed; logback where there is Java.
peers() {
	programs='syslog-ng nginx haproxy'
	ls /usr/lib/*/rsyslog/omczmq.so /usr/lib/*/rsyslog/omhiredis.so /usr/lib/*/rsyslog/lmnsd_gtls.so /usr/lib/*/rsyslog/omrelp.so >/dev/null 2>&1 ||
		programs="$programs rsyslog"
	! command -v java >/dev/null 2>&1 || programs="$programs logback"
	command -v promtool >/dev/null 2>&1 || programs="$programs promtool"
	# shellcheck disable=SC2086 # a list of words
	lacking=$(unpacked $programs)
	[ -n "$lacking" ] || return 0
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 && apt-get update >/dev/null 2>&1; then
		# shellcheck disable=SC2086 # a list of words
		lacking=$(unpacked $lacking)
	fi
	[ -z "$lacking" ] || echo "setup: missing:$lacking; tests that need them are skipped. On Debian: scripts/peers.sh$lacking" >&2
}

# Packages of npm, where there is npm.
nodejs() {
	command -v npm >/dev/null 2>&1 || return
	lacking=''
	for package in $npm; do
		[ -e "build/peers/npm/node_modules/${package%@*}/package.json" ] || lacking="$lacking $package"
	done
	[ -n "$lacking" ] || return
	mkdir -p build/peers/npm
	# shellcheck disable=SC2086 # a list of words
	npm install --prefix build/peers/npm --ignore-scripts --no-audit --no-fund --silent $lacking >/dev/null 2>&1 ||
		echo "setup: missing, of npm:$lacking; tests that need them are skipped" >&2
}

# Docker's drivers for logging, of a module of its own: see e2e/docker.
drivers() {
	"${GO:-go}" -C e2e/docker build -o ../../build/peers/docker . >/dev/null 2>&1 ||
		echo "setup: missing: Docker's drivers; tests that need them are skipped. For more: go -C e2e/docker build ." >&2
}

# An S3-compatible server, of a module of its own: see e2e/s3.
s3() {
	"${GO:-go}" -C e2e/s3 build -o ../../build/peers/s3 . >/dev/null 2>&1 ||
		echo "setup: missing: an S3 server; tests that need it are skipped. For more: go -C e2e/s3 build ." >&2
}

# A small Debian, in which packages are installed and removed.
root() {
	[ ! -e build/peers/root.tar ] && [ "$(id -u)" = 0 ] && command -v mmdebstrap >/dev/null 2>&1 || return
	scripts/root.sh >/dev/null 2>&1 ||
		echo "setup: missing: build/peers/root.tar; tests that need it are skipped. For more: scripts/root.sh" >&2
}

finish() {
	peers
	root
	nodejs
	drivers
	s3
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
