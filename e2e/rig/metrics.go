package rig

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

var sample = regexp.MustCompile(`(?m)^fanin_(received|written|duplicate|rejected|unsure|dropped)_lines_total\{(.*)\} ([0-9.e+]+)$`)

// conserved holds the counts of every input against each other.
func conserved(metrics string) error {
	received, accounted := make(map[string]int), make(map[string]int)
	for _, m := range sample.FindAllStringSubmatch(metrics, -1) {
		input, _, _ := strings.Cut(m[2][strings.Index(m[2], `input="`)+len(`input="`):], `"`)
		v, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			return fmt.Errorf("metric %s: %w", m[0], err)
		}
		if m[1] == "received" {
			received[input] += int(v)
		} else {
			accounted[input] += int(v)
		}
	}
	if len(received) == 0 {
		return fmt.Errorf("no fanin_received_lines_total among the metrics:\n%s", metrics)
	}
	for input, n := range received {
		if accounted[input] != n {
			return fmt.Errorf("input %s: %d lines received, but %d written, duplicate, rejected, unsure or dropped", input, n, accounted[input])
		}
	}
	return nil
}
