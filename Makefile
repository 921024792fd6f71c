# The only door to the project. `make` says what there is.

GO       ?= go
FOR      ?=
NATS     ?=
PREFIX   ?= /usr
DESTDIR  ?=
BUILD    := build
BIN      := $(BUILD)/fanin-collector $(BUILD)/fanin-agent
GOBUILD  := CGO_ENABLED=0 $(GO) build -trimpath -buildvcs=auto -ldflags "-s -w"
DOCS     := $(wildcard README.md DESIGN.md CHANGELOG.md CONTRIBUTING.md SECURITY.md LICENSE)
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
DUPL     := github.com/mibk/dupl@v1.1.0

# Tests look for races where there is a C compiler, which the race detector needs.
RACE = $(shell CGO_ENABLED=1 $(GO) env CC | xargs -n1 2>/dev/null | head -n1 | xargs -I{} sh -c 'command -v {} >/dev/null 2>&1 && echo -race')

.PHONY: help setup build image packages vulncheck run test check measure bench torture install clean

help:
	@echo "make setup              install what the tests need (apt, as root; otherwise say what is missing)"
	@echo "make build              build $(BIN)"
	@echo "make image              container images for amd64 and arm64, as OCI layouts in $(BUILD)/image, without Docker"
	@echo "make packages           deb, rpm and apk for amd64 and arm64, in $(BUILD)/packages"
	@echo "make vulncheck          known vulnerabilities that the programs call"
	@echo "make run [FOR=15s]      (NATS=1: over a NATS server between them)"
	@echo "                        start a collector and an agent on this machine's own logs, and look on"
	@echo "make test               setup, then all tests, with the race detector"
	@echo "make check              format, vet, staticcheck, go.mod, import direction, cross-builds; silent when good"
	@echo "make measure            lengths of functions and files, widths of structs, complexity"
	@echo "make bench              measure, side by side with others"
	@echo "make torture [FOR=30s]  kill, cut power (as root), fill disks, and count lines"
	@echo "make install            into DESTDIR=$(DESTDIR) PREFIX=$(PREFIX), with the systemd units"
	@echo "make clean              remove $(BUILD)/"

setup:
	@GO="$(GO)" scripts/setup.sh

build:
	@$(GOBUILD) -o $(BUILD)/fanin-collector ./cmd/collector
	@$(GOBUILD) -o $(BUILD)/fanin-agent ./cmd/agent

image:
	@cd deploy && $(GO) run ./image ../$(BUILD)/image

packages:
	@cd deploy && $(GO) run ./package ../$(BUILD)/packages

vulncheck:
	@cd deploy && $(GO) run ./vulncheck

run: setup build
	@NATS="$(NATS)" GO="$(GO)" scripts/demo.sh $(FOR)

test: setup
	@test -n "$(RACE)" || echo "no C compiler: tests run without the race detector"
	$(GO) test $(RACE) -timeout 15m $$($(GO) list ./... | grep -v '/e2e/attack$$')
	$(GO) test $(RACE) -timeout 15m ./e2e/attack # by itself: it asserts what an agent has of an otherwise idle machine
	cd deploy && $(GO) test ./...
	@command -v chromium chromium-browser google-chrome >/dev/null || echo "e2e/page: not run: there is no Chromium (make setup installs it, as root)"
	cd e2e/page && $(GO) test -timeout 30m .

check:
	@GO="$(GO)" STATICCHECK="$(STATICCHECK)" DUPL="$(DUPL)" scripts/check.sh

measure:
	@$(GO) run ./e2e/measure

bench: build
	$(GO) run ./e2e/bench

torture: build
	FANIN_ROUNDS=$(if $(FOR),2,30) $(GO) test -count=1 -timeout 60m -run '^Test(Crash|PowerCut)' ./sink ./sink/distribute ./internal/tail
	FANIN_SEND_KILLS=$(if $(FOR),10,200) $(GO) test -count=1 -timeout 60m -run '^TestSendKilled' .
	$(GO) run ./e2e/torture $(if $(FOR),-for $(FOR))
	$(if $(FOR),,FANIN_SEQUENCES=20000) $(GO) test -count=1 -timeout 120m -run '^TestFileOperations$$' ./internal/tail

install: build
	install -d "$(DESTDIR)$(PREFIX)/bin" "$(DESTDIR)$(PREFIX)/lib/systemd/system" "$(DESTDIR)$(PREFIX)/lib/sysusers.d" \
		"$(DESTDIR)$(PREFIX)/lib/tmpfiles.d" "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" "$(DESTDIR)/etc/fanin"
	install -m 0755 $(BIN) "$(DESTDIR)$(PREFIX)/bin"
	install -m 0644 systemd/fanin.sysusers "$(DESTDIR)$(PREFIX)/lib/sysusers.d/fanin.conf"
	for name in collector agent; do \
		unit=fanin-$$name doc="$(DESTDIR)$(PREFIX)/share/doc/fanin-$$name" && \
		sed 's|/usr/bin/|$(PREFIX)/bin/|' systemd/$$unit.service > "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service" && \
		chmod 0644 "$(DESTDIR)$(PREFIX)/lib/systemd/system/$$unit.service" && \
		install -m 0644 systemd/$$unit.tmpfiles "$(DESTDIR)$(PREFIX)/lib/tmpfiles.d/$$unit.conf" && \
		$(BUILD)/$$unit completion bash > "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/$$unit" && \
		install -d "$$doc/docs" "$$doc/systemd" "$$doc/monitoring" && \
		install -m 0644 $(DOCS) config.example.toml "$$doc" && \
		install -m 0644 deploy/monitoring/* "$$doc/monitoring" && \
		install -m 0644 docs/*.md "$$doc/docs" && \
		install -m 0644 $$(find systemd -path "systemd/$$unit*.example") "$$doc/systemd" && \
		{ test -e "$(DESTDIR)/etc/fanin/$$name.toml" || install -m 0644 systemd/$$name.toml "$(DESTDIR)/etc/fanin/$$name.toml"; } || exit 1; \
	done

clean:
	rm -rf $(BUILD)
