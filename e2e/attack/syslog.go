package main

import (
	"bytes"
	"net"
	"strings"
)

// syslogAttacks are what hostile senders of syslog do.
func syslogAttacks() []attack {
	wrong := strings.Repeat("7 <13>short of its text\n4294967296 <13>x\n-7 <13>x\n007 <13>x\n<999>x\n<\n1 <1>\n", 200)
	skipped := append([]byte("900000000 <13>"), bytes.Repeat([]byte("x"), 16<<20)...)
	return []attack{
		{"syslog counts that are wrong", plain(240, func(t *target, c net.Conn) { stall(t, c, []byte(wrong+"999999999 <13>never")) })},
		{"syslog counts whose rest is skipped", plain(8, func(t *target, c net.Conn) { drip(t, c, skipped, 4<<20) })},
		{"syslog messages without an end", plain(240, func(t *target, c net.Conn) {
			stall(t, c, []byte("<13>Oct 11 22:14:15 a: "+strings.Repeat("x", 300<<10)))
		})},
		{"syslog counts that stall", plain(240, func(t *target, c net.Conn) {
			stall(t, c, []byte("900000 <13>"+strings.Repeat(strings.Repeat("x", 99)+"\n", 3<<10)))
		})},
	}
}
