package main

import (
	"github.com/spf13/cobra"

	"fanin/internal/agent"
	"fanin/internal/collector"
)

// product is one package. Each has one program, and stands alone: a host has one of them or both.
type product struct {
	name        string // of the package, its program and its service
	config      string // its file in /etc/fanin, without .toml
	summary     string
	description string
	state       []string // directories with what it writes; a purge removes them
	command     func() *cobra.Command
}

// products are the packages.
func products() []product {
	return []product{
		{name: "fanin-collector", config: "collector", command: collector.Command,
			summary: "collects log lines from many hosts in one rotated file",
			description: `The collector receives lines from agents (each exactly once), over syslog,
RELP, GELF, NATS, Redis and ZeroMQ, from plain TCP connections and from
datagrams. It writes them to one rotated file, and passes them to workers.
After the installation nothing runs until the service is enabled. The
configuration that comes with it listens on loopback alone.`,
			state: []string{"/var/lib/fanin", "/var/log/fanin"}},
		{name: "fanin-agent", config: "agent", command: agent.Command,
			summary: "follows logs and sends each line to a fanin collector once",
			description: `The agent follows files through every rotation, reads the journal, sockets and
the logs of containers, and sends their lines to a fanin collector. Each line
arrives exactly once, whatever is killed.
After the installation nothing runs until the service is enabled.`,
			state: []string{"/var/lib/fanin-agent"}},
	}
}
