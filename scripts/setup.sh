#!/bin/sh
# Installs what the tests need beside Go, by apt and as root; otherwise says what
# is missing and goes on: tests that need it skip themselves and say so.
set -u

# command:package
wanted='gcc:gcc nc:netcat-openbsd logger:bsdutils python3:python3 openssl:openssl socat:socat
	mkfs.ext4:e2fsprogs chattr:e2fsprogs ps:procps gzip:gzip curl:curl systemd-analyze:systemd strace:strace'

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
	# A worker in Python needs a library.
	if command -v /usr/bin/python3 >/dev/null 2>&1 && ! /usr/bin/python3 -c 'import msgpack' >/dev/null 2>&1; then
		missing="$missing python3-msgpack" packages="$packages python3-msgpack"
	fi
}

look
[ -z "$missing" ] && exit 0
if [ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
	case " $packages " in *" gcc "*) packages="$packages libc6-dev" ;; esac
	echo "setup: installing$packages" >&2
	export DEBIAN_FRONTEND=noninteractive
	log=$(mktemp)
	# shellcheck disable=SC2086 # a list of words
	{ apt-get install -y --no-install-recommends $packages ||
		{ apt-get update && apt-get install -y --no-install-recommends $packages; }; } >"$log" 2>&1 ||
		{ echo "setup: apt-get failed:" >&2; tail -n 5 "$log" >&2; }
	rm -f "$log"
	look
	[ -z "$missing" ] && exit 0
fi
echo "setup: missing:$missing; tests that need them are skipped. On Debian, as root: apt-get install$packages" >&2
exit 0
