#!/usr/bin/env bash
# Everything about the code that a machine can judge without running it. Prints
# nothing when all is good; tells all that is wrong, not only the first.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
go=${GO:-go}
staticcheck=${STATICCHECK:-honnef.co/go/tools/cmd/staticcheck@v0.8.2}
dupl=${DUPL:-github.com/mibk/dupl@v1.1.0}
bad=0

# check NAME COMMAND...: must succeed; what it prints is shown only if it does not.
check() {
	local name=$1 out
	shift
	if ! out=$("$@" 2>&1); then
		printf 'check: %s\n%s\n' "$name" "$out" >&2
		bad=1
	fi
}

formatted() {
	local files
	files=$(find . -name '*.go' -not -path './build/*' -print0 | xargs -0 gofmt -l -s) || return 1
	[ -z "$files" ] || { echo "$files"; echo "remedy: gofmt -w -s FILE"; return 1; }
}

# Runs of 100 tokens that stand in two places outside tests.
duplicates() {
	local clones
	clones=$(find . -name '*.go' -not -name '*_test.go' -not -path './build/*' -not -path './e2e/*' -not -path '*test/*' | "$go" run "$dupl" -plumbing -threshold 100 -files) || return 1
	[ -z "$clones" ] || { echo "$clones"; return 1; }
}

builds() { GOOS=$1 GOARCH=$2 CGO_ENABLED=0 "$go" build -trimpath -o /dev/null "$3"; }

check 'format' formatted
check 'go vet' "$go" vet ./...
check 'go vet, deploy' "$go" -C deploy vet ./...
check 'go.mod, deploy (remedy: cd deploy && go mod tidy)' "$go" -C deploy mod tidy -diff
check 'go vet, e2e/docker' "$go" -C e2e/docker vet ./...
check 'go.mod, e2e/docker (remedy: cd e2e/docker && go mod tidy)' "$go" -C e2e/docker mod tidy -diff
check 'go vet, e2e/s3' "$go" -C e2e/s3 vet ./...
check 'go.mod, e2e/s3 (remedy: cd e2e/s3 && go mod tidy)' "$go" -C e2e/s3 mod tidy -diff
check 'go vet, e2e/page' "$go" -C e2e/page vet ./...
check 'go.mod, e2e/page (remedy: cd e2e/page && go mod tidy)' "$go" -C e2e/page mod tidy -diff
check 'staticcheck' "$go" run "$staticcheck" ./...
check 'measures' "$go" run ./e2e/measure -check
check 'duplicates' duplicates
check 'go.mod (remedy: go mod tidy)' "$go" mod tidy -diff
check 'architecture' "$go" test -count=1 -run '^TestArchitecture' .
for arch in amd64 arm64; do
	check "build linux/$arch" builds linux "$arch" ./cmd/collector
	check "build linux/$arch" builds linux "$arch" ./cmd/agent
	check "build darwin/$arch" builds darwin "$arch" ./cmd/agent
	check "build windows/$arch" builds windows "$arch" ./cmd/agent
done
exit "$bad"
