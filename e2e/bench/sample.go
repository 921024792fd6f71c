package main

// sample is what one trial measured. What a trial does not measure is 0.
type sample struct {
	tally
	Seconds   float64
	Bytes     int64   // in the file
	CPU       float64 // seconds, of the collector
	AgentCPU  float64
	ServerCPU float64 // of a server between the two
	Peak      float64 // MiB, of the collector
	AgentRSS  float64
	P50, P99  float64 // milliseconds
	More      float64 // MiB for idle connections
	Counted   int     // datagrams that the collector says were dropped
	Ratio     float64 // bytes of text for each byte that is compressed
	Batches   int     // of a crowd
	Back      float64 // seconds until all of a crowd are back
}

func (s *sample) seconds() float64 { return s.Seconds }
func (s *sample) cpu() float64     { return s.CPU }
func (s *sample) speed() float64   { return float64(s.Lines) / s.Seconds / 1e6 }
func (s *sample) rate() float64    { return float64(s.Bytes) / s.Seconds / 1e6 }
func (s *sample) ratePerCPU() float64 {
	return float64(s.Bytes) / s.CPU / 1e6
}
func (s *sample) cpuPerM() float64   { return s.CPU / float64(max(s.Lines, 1)) * 1e6 }
func (s *sample) agentPerM() float64 { return s.AgentCPU / float64(max(s.Lines, 1)) * 1e6 }
func (s *sample) serverPerM() float64 {
	return s.ServerCPU / float64(max(s.Lines, 1)) * 1e6
}
func (s *sample) peak() float64      { return s.Peak }
func (s *sample) agentPeak() float64 { return s.AgentRSS }
func (s *sample) p50() float64       { return s.P50 }
func (s *sample) p99() float64       { return s.P99 }
func (s *sample) more() float64      { return s.More }
func (s *sample) ratio() float64     { return s.Ratio }
func (s *sample) perBatch() float64  { return s.CPU / float64(max(s.Batches, 1)) * 1e6 }
func (s *sample) cores() float64     { return s.CPU / s.Seconds }
func (s *sample) back() float64      { return s.Back }
func (s *sample) uncounted() float64 { return float64(s.Lost - s.Counted) }
func (s *sample) lostPercent() float64 {
	return 100 * float64(s.Lost) / float64(max(s.Lost+s.Lines, 1))
}
