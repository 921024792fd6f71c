package wire

// What follows reads the frames that a collector sends.

func (d *Decoder) welcome(f *Frame) {
	d.in.Int() // the version: a collector of another one refuses the hello
	f.Welcome.Log, f.Welcome.Incarnation = d.id(), d.id()
	f.N = d.in.Int()
	d.about(&f.Welcome)
}

func (d *Decoder) about(w *Welcome) {
	for n := d.in.Map(); n > 0 && d.in.Err == nil; n-- {
		switch d.text() {
		case "boot":
			w.About.Boot = d.text()
		case "files":
			w.About.Files = d.logFiles()
		case "encodings":
			w.About.Encodings = Encoding(d.in.Uint()) & Encodings // those of a later release mean nothing here
		case "chain":
			w.Chain = int(max(0, min(d.in.Int(), MaxChain)))
		case "way":
			w.About.Way = d.way()
		default:
			d.in.Skip()
		}
	}
}

func (d *Decoder) logFiles() (files []LogFile) {
	for n := d.in.Array(MaxAbout); n > 0 && d.in.Err == nil; n-- {
		d.in.ArrayOf(4)
		files = append(files, LogFile{d.in.Uint(), d.in.Uint(), Point{d.in.Int(), d.hash()}})
	}
	return files
}

func (d *Decoder) way() (w Way) {
	n := d.in.Array(1 + MaxWay)
	w.Known = d.in.Bool()
	for ; n > 1 && d.in.Err == nil; n-- {
		w.Logs = append(w.Logs, d.id())
	}
	return w
}

func (d *Decoder) streams(f *Frame) {
	for n := d.in.Array(streamsPerFrame); n > 0 && d.in.Err == nil; n-- {
		d.in.ArrayOf(7)
		s := StreamState{Stream: d.id()}
		d.watermark(&s.Watermark)
		s.Source, s.Identity = d.text(), d.in.Bin(MaxIdentity)
		f.Streams = append(f.Streams, s)
	}
}

func (d *Decoder) answer(k Kind, a *Answer) {
	a.Kind, a.Stream = k, d.id()
	switch k {
	case KindNack:
		a.Expected.Known = d.in.Bool()
		d.watermark(&a.Expected.Watermark)
	case KindRefuse, KindLater:
		a.Reason = d.text()
	}
}

func (d *Decoder) watermark(w *Watermark) {
	w.Epoch, w.Offset, w.Tail = d.in.Uint32(), d.in.Int(), d.hash()
	for n := d.in.Array(MaxTrail); n > 0 && d.in.Err == nil; n-- {
		d.in.ArrayOf(2)
		w.Trail = append(w.Trail, Point{Offset: d.in.Int(), Tail: d.hash()})
	}
}
