// Package appendertest contains the promise of wire.Appender as tests, which every
// Appender runs, and an Appender in memory for the tests of callers.
package appendertest
