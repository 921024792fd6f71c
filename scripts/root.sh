#!/bin/sh
# Makes build/peers/root.tar: a small Debian with the packages that the test of fanin's packages
# needs, from the sources of packages that this machine has. Needs root and mmdebstrap.
set -eu
cd "$(dirname "$0")/.."
tar=$PWD/build/peers/root.tar
[ ! -e "$tar" ] || exit 0
mkdir -p build/peers
sources=$(find /etc/apt/sources.list /etc/apt/sources.list.d -name '*.list' -o -name '*.sources' 2>/dev/null) || true
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
# shellcheck disable=SC2086 # a list of files
mmdebstrap --quiet --variant=minbase --include=systemd,man-db "$suite" "${tar%.tar}.new.tar" $sources
mv "${tar%.tar}.new.tar" "$tar"
