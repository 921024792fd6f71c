// Package appendertest states the promise of wire.Appender as tests, which every
// Appender runs, and has one that keeps everything in memory, for the tests of
// those who append.
package appendertest
