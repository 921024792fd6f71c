package configtest

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// FlagsHaveUnits walks over every flag of a program and its commands, and fails the test
// for each duration that does not accept days, and each size that accepts no unit. It
// returns how many of both there are.
func FlagsHaveUnits(t *testing.T, c *cobra.Command) (durations, sizes int) {
	t.Helper()
	check := func(f *pflag.Flag, text, want string) {
		if err := c.Flags().Set(f.Name, text); err != nil || f.Value.String() != want {
			t.Errorf("%s --%s %s is %q, %v; want %s", c.CommandPath(), f.Name, text, f.Value, err, want)
		}
	}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		switch f.Value.Type() {
		case "duration":
			durations++
			check(f, "2d", "48h0m0s")
		case "bytes":
			sizes++
			check(f, "2MiB", "2097152")
			check(f, "4096", "4096")
		case "int64", "uint64":
			if strings.Contains(f.Usage, "byte") {
				t.Errorf("%s --%s is a number of bytes and accepts no unit", c.CommandPath(), f.Name)
			}
		}
	})
	for _, sub := range c.Commands() {
		d, s := FlagsHaveUnits(t, sub)
		durations, sizes = durations+d, sizes+s
	}
	return durations, sizes
}
