#!/bin/sh
# Unpacks programs of Debian into build/peers, side by side: installed, some would
# exclude each other, and some would start as services of this machine. Downloads with
# them what they link and the machine does not have. Needs apt, but not root.
# scripts/peers.sh [rsyslog] [syslog-ng] [nginx] [haproxy] [logback] [promtool]: without
# arguments the first two.
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

# unpack NAME PACKAGE...: once; build/peers/NAME.complete says of which packages it was done.
unpack() {
	name=$1
	shift
	[ "$(cat "$root/$name.complete" 2>/dev/null)" != "$*" ] || return 0
	rm -rf "$root/$name.debs"
	mkdir -p "$root/$name.debs"
	# shellcheck disable=SC2046 # a list of words
	(cd "$root/$name.debs" && apt-get download -qq $(closure "$@"))
	for deb in "$root/$name.debs"/*.deb; do dpkg-deb -x "$deb" "$root"; done
	echo "$*" >"$root/$name.complete"
}

# promtool unpacks this one program of the package prometheus, which links nothing else.
promtool() {
	[ ! -x "$root/usr/bin/promtool" ] || return 0
	rm -rf "$root/promtool.debs"
	mkdir -p "$root/promtool.debs"
	(cd "$root/promtool.debs" && apt-get download -qq prometheus)
	dpkg-deb --fsys-tarfile "$root/promtool.debs"/prometheus_*.deb | tar -x -C "$root" ./usr/bin/promtool
	rm -rf "$root/promtool.debs"
}

[ $# -gt 0 ] || set -- rsyslog syslog-ng
for peer; do
	case $peer in
	rsyslog) unpack rsyslog rsyslog rsyslog-czmq rsyslog-hiredis rsyslog-gnutls rsyslog-relp ;;
	syslog-ng) unpack syslog-ng syslog-ng-core ;;
	nginx) unpack nginx nginx ;;
	haproxy) unpack haproxy haproxy ;;
	logback) unpack logback liblogback-java libslf4j-java ;;
	promtool) promtool ;;
	*) echo "peers: no such peer: $peer" >&2; exit 1 ;;
	esac
done
