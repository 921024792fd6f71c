#!/bin/sh
# Unpacks Debian's rsyslog and syslog-ng into build/peers, side by side: installed
# they would exclude each other, and take over the machine's own logging. Downloads
# with them what they link and the machine does not have. Needs apt, but not root.
# scripts/peers.sh [rsyslog] [syslog-ng]: without arguments both.
set -eu
cd "$(dirname "$0")/.."
root=$PWD/build/peers

# closure PACKAGE...: those and what apt would install with them.
closure() {
	{
		printf '%s\n' "$@"
		LC_ALL=C apt-get -s install --no-install-recommends "$@" | awk '$1 == "Inst" { print $2 }'
	} | sort -u
}

# unpack NAME PACKAGE...: once; build/peers/NAME.complete says that it was done.
unpack() {
	name=$1
	shift
	[ ! -e "$root/$name.complete" ] || return 0
	mkdir -p "$root/debs"
	# shellcheck disable=SC2046 # a list of words
	(cd "$root/debs" && apt-get download -qq $(closure "$@"))
	for deb in "$root"/debs/*.deb; do dpkg-deb -x "$deb" "$root"; done
	touch "$root/$name.complete"
}

[ $# -gt 0 ] || set -- rsyslog syslog-ng
for peer; do
	case $peer in
	rsyslog) unpack rsyslog rsyslog rsyslog-czmq rsyslog-hiredis ;;
	syslog-ng) unpack syslog-ng syslog-ng-core ;;
	*) echo "peers: no such peer: $peer" >&2; exit 1 ;;
	esac
done
