package sink

// ClosedFile is a file of the log to which nothing is added any more.
type ClosedFile struct {
	Generation
	Final bool // it stays as it is until it is removed: it is compressed, if it is to be
	Lost  bool // another process removed it, or moved it away
}

// Closed lists the closed files, oldest first, without those that retention removed.
func (s *Sink) Closed() (list []ClosedFile) {
	all := s.files()
	plain := s.janitor == nil || s.janitor.retention.Load().Compress != "gzip"
	for _, g := range all[:len(all)-1] {
		f := ClosedFile{Generation: g, Lost: g.State == stateLost,
			Final: g.State == stateGzip || g.State == statePlain && (plain || !isBackup(s.Path, g.Name))}
		if g.State != stateRemoved {
			list = append(list, f)
		}
	}
	return list
}

// LedgerPath is where the ledger of a generation is. It may have none.
func (s *Sink) LedgerPath(generation uint64) string { return ledgerName(s.State, generation) }
