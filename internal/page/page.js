'use strict';
// The page of the collector. What it shows comes from the collector's requests (docs/control.md).
// Text becomes text nodes only: nothing here makes markup.
(() => {
const WINDOW = 300, SHIFT = 150; // rows in the document, and by how many they move
const KEEP = 10000, KEEP_CHARS = 16 << 20; // rows in memory
const PAGE = 1000; // hits that a search loads at a time
const AWAY = 8 << 20; // bytes that a page reads to catch up; beyond them it skips
const VIEWS = {lines: 'Lines', agents: 'Agents and streams', groups: 'Groups and workers', inputs: 'Inputs', log: 'Disk and retention'};
const FILTERS = ['include', 'exclude', 'host', 'source'];
const doc = document, $ = id => doc.getElementById(id), all = q => doc.querySelectorAll(q), list = $('list');

// el makes an element. Strings become text.
function el(tag, props, ...kids) {
	const e = doc.createElement(tag);
	for (const [k, v] of Object.entries(props || {})) {
		if (k === 'hue') e.style.setProperty('--h', v);
		else if (k === 'click') e.onclick = v;
		else if (v !== false && v != null) e.setAttribute(k, v);
	}
	e.append(...kids.filter(k => k != null));
	return e;
}

function set(id, text) { // without work, or news for a screen reader, where nothing changes
	if ($(id).textContent !== text) $(id).textContent = text;
}

const count = n => String(n || 0).replace(/\B(?=(\d{3})+$)/g, ',');
const lines = n => count(n) + (n === 1 ? ' line' : ' lines');

function bytes(n) {
	let i = 0;
	for (; n >= 1024 && i < 4; i++) n /= 1024;
	return (i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)) + ' ' + ['B', 'KiB', 'MiB', 'GiB', 'TiB'][i];
}

function span(s) {
	if (s < 60) return Math.max(0, Math.round(s)) + ' s';
	if (s < 3600) return Math.round(s / 60) + ' min';
	return s < 2 * 86400 ? (s / 3600).toFixed(s < 36000 ? 1 : 0) + ' h' : Math.round(s / 86400) + ' days';
}
const age = t => (Date.now() - Date.parse(t)) / 1000;

// hue is the colour of a name, the same everywhere and always: FNV-1a, spread over the circle.
function hue(name) {
	let h = 0x811c9dc5;
	for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
	return ((h >>> 0) * 137.508 % 360).toFixed(0);
}

// A position is GENERATION:OFFSET.
const position = at => at.split(':').map(Number);
function compare(a, b) {
	const [g, o] = position(a), [h, p] = position(b);
	return g - h || o - p;
}

let store = {}, utc;
function settings() { // of this browser, which may forbid that
	try { store = localStorage; } catch { /* none */ }
	utc = store.faninUTC === '1';
}
const clock = t => {
	const d = new Date(t);
	return !t ? '' : utc ? t.slice(11, 23) + 'Z' : d.toTimeString().slice(0, 8) + '.' + String(d.getMilliseconds()).padStart(3, '0');
};
const day = t => {
	const d = new Date(t);
	return (utc ? t : String(new Date(d - d.getTimezoneOffset() * 6e4).toJSON())).slice(0, 10);
};
const moment = t => t ? day(t) + ' ' + clock(t).replace(/\.\d+/, '') : '';
const iso = ms => new Date(ms).toISOString().replace('.000', '');

// HARMFUL is what would move, hide or reverse text. "#033" is how the log has control bytes.
const HARMFUL = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]|#0[0-3][0-7]/gu;
const codeOf = c => 'U+' + c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0');
const nameOf = c => c < ' ' ? String.fromCharCode(0x2400 + c.charCodeAt(0)) : c === '\x7f' ? '\u2421' : codeOf(c);
const plain = text => text.replace(HARMFUL, m => m[0] === '#' ? m : nameOf(m));

// visible is text as nodes: harmful characters by their names, matches marked.
function visible(text, match, breaks) {
	const out = [];
	const cut = (s, what, f) => {
		let at = 0;
		for (const m of s.matchAll(what)) {
			if (m.index > at) f(s.slice(at, m.index));
			at = m.index + m[0].length;
			f(m[0], true);
		}
		if (at < s.length) f(s.slice(at));
	};
	cut(text, HARMFUL, (s, harm) => {
		if (!harm) match ? cut(s, match, (s, hit) => out.push(hit ? el('mark', null, s) : s)) : out.push(s);
		else if (s[0] === '#') out.push(el('span', {class: 'esc'}, s), breaks && s === '#012' ? '\n' : '');
		else out.push(el('span', {class: 'ctl', title: codeOf(s)}, nameOf(s)));
	});
	return out;
}

let state = readURL();

function readURL() {
	const q = new URLSearchParams(location.search), at = /^#at=(\d+:\d+)$/.exec(location.hash);
	const s = {view: Object.hasOwn(VIEWS, q.get('view')) ? q.get('view') : 'lines', from: q.get('from') || '', to: q.get('to') || '', at: at ? at[1] : ''};
	for (const k of FILTERS) s[k] = q.getAll(k).filter(Boolean);
	if (s.to && !s.from) s.from = 'start';
	return s;
}

// filters are those of the state, as parameters of a request or of the URL.
function filters(kinds = FILTERS) {
	const q = new URLSearchParams();
	for (const k of kinds) for (const x of state[k]) q.append(k, x);
	return q;
}

function range(q) {
	if (state.from) q.set('from', state.from);
	if (state.to) q.set('to', state.to);
	return q;
}

function url() {
	const q = range(filters());
	if (state.view !== 'lines') q.set('view', state.view);
	return location.pathname + (q.size ? '?' + q : '') + (state.at && '#at=' + state.at);
}

function go(change) {
	Object.assign(state, change);
	if (url() !== location.pathname + location.search + location.hash) history.pushState(null, '', url());
	show();
}
const live = () => go({from: '', to: '', at: ''});

function filter(kind, value) {
	if (value && !state[kind].includes(value)) go({[kind]: [...state[kind], value], at: ''});
}

class Refused extends Error {
	constructor(status, text, after) { super(text); Object.assign(this, {status, after}); }
}

async function ask(path, options) {
	const r = await fetch(path, {cache: 'no-store', ...options});
	if (r.status === 401) login();
	if (!r.ok) throw new Refused(r.status, (await r.text()).trim().slice(0, 600), Number(r.headers.get('Retry-After')));
	return r;
}
const askJSON = async (path, options) => (await ask(path, options)).json();
const whyNot = e => e instanceof Refused ? 'The collector says: ' + plain(e.message) : 'The collector does not answer';

const troubles = new Map(); // what does not work now
function trouble(what, text) {
	if (text) troubles.set(what, text); else troubles.delete(what);
	const [first] = troubles.values();
	set('trouble', first || '');
	$('trouble').hidden = !first;
}

const sleep = (ms, signal) => new Promise(done => {
	setTimeout(done, ms);
	signal.addEventListener('abort', done, {once: true});
});

// retryIn waits longer after each try, and tells how long still.
async function retryIn(what, e, tries, signal) {
	for (let s = e.after || Math.min(tries, 5); s && !signal.aborted; s--) {
		trouble(what, whyNot(e) + '; trying again in ' + s + ' s');
		await sleep(1000, signal);
	}
}

// parser reads server-sent events, as sink/livetail/events.go draws them.
function parser() {
	let rest = '', kind = '', id = '', data = null;
	return text => {
		const out = [], parts = (rest + text).split('\n');
		rest = parts.pop();
		for (const s of parts) {
			if (s === '') {
				if (id || data !== null) out.push({kind, id, data});
				kind = id = '';
				data = null;
			} else if (s.startsWith('data:')) data = (data === null ? '' : data + '\n') + s.slice(s[5] === ' ' ? 6 : 5);
			else if (s.startsWith('id: ')) id = s.slice(4);
			else if (s.startsWith('event: ')) kind = s.slice(7);
		}
		return out;
	};
}

let v = null; // the list on show: rows in memory, and which of them are in the document
let serial = 0;

function newList(mode) {
	v?.stop.abort();
	list.replaceChildren();
	return {mode, stop: new AbortController(), rows: [], chars: 0, lo: 0, hi: 0, dropped: 0, pending: [], last: '', floor: '', limit: PAGE, reading: false,
		ended: false, error: '', follow: mode === 'live', held: false, unseen: 0, cur: -1, from: -1, day: day(new Date().toISOString()), hw: 6, sw: 6, match: matcher()};
}

// matcher marks what include filters match, if they are simple: quick, and the same as in RE2.
function matcher() {
	const simple = state.include.filter(s => /^(\(\?i\))?[^\\()[\]{}*+?^$.|]+(\|[^\\()[\]{}*+?^$.|]+)*$/.test(s)).join('|');
	return simple && !state.at ? new RegExp(simple.replaceAll('(?i)', ''), simple.includes('(?i)') ? 'gi' : 'g') : null;
}

const LEVEL = /\b(?:(error|err|fatal|panic|crit(?:ical)?|emerg|alert|severe)|warn(?:ing)?)\b/i;

function element(r) {
	const option = (kind, ...kids) => el('div', {class: kind, role: 'option', id: 'r' + r.q, 'aria-selected': 'false'}, ...kids);
	if (r.note) return option(r.go ? 'note go' : 'note', r.note);
	const long = r.b.length > 3000, level = LEVEL.exec(r.b.slice(0, 160));
	const name = (kind, x) => el('span', {class: kind, hue: hue(x), title: plain(x)}, ...visible(x));
	return option('row' + (level ? level[1] ? ' error' : ' warn' : '') + (r.t ? '' : ' raw') + (r.at ? ' at' : ''),
		el('span', {class: 't', title: r.t}, clock(r.t)), ' ', name('h', r.h), ' ', name('s', r.s), ' ',
		el('span', {class: 'b'}, ...visible(long ? r.b.slice(0, 3000) : r.b, v.match), long ? el('span', {class: 'esc'}, ' … ' + bytes(r.b.length)) : ''));
}

// slide moves the part of the rows that is in the document. What stays does not move.
function slide(lo) {
	lo = Math.max(0, Math.min(lo, v.rows.length - WINDOW));
	const hi = Math.min(v.rows.length, lo + WINDOW);
	const keepLo = Math.max(lo, v.lo), keepHi = Math.min(hi, v.hi), make = (a, b) => v.rows.slice(a, b).map(element);
	if (keepLo >= keepHi) {
		list.replaceChildren(...make(lo, hi));
	} else {
		const anchor = list.children[keepLo - v.lo], was = anchor.offsetTop - list.scrollTop;
		for (let i = v.lo; i < keepLo; i++) list.firstChild.remove();
		for (let i = v.hi; i > keepHi; i--) list.lastChild.remove();
		list.prepend(...make(lo, keepLo));
		list.append(...make(keepHi, hi));
		if (!v.follow) list.scrollTop = anchor.offsetTop - was;
	}
	Object.assign(v, {lo, hi});
	mark();
}

// push adds a row in memory; the document follows in the next frame.
function push(x, r) {
	if (r.t && r.t.slice(0, 13) !== x.hour) {
		x.hour = r.t.slice(0, 13);
		if (day(r.t) !== x.day) push(x, {note: x.day = day(r.t), b: ''});
	}
	r.q = ++serial;
	x.chars += r.b.length;
	if (!x.pending.push(r) || x.frame) return;
	x.frame = true;
	requestAnimationFrame(() => { x.frame = false; if (x === v) flush(); });
}

function flush() {
	const added = v.pending, end = v.hi === v.rows.length;
	v.pending = [];
	for (const r of added) {
		v.rows.push(r);
		if (r.note) continue;
		if (!v.follow) v.unseen++;
		v.hw = Math.max(v.hw, Math.min(r.h.length, 18));
		v.sw = Math.max(v.sw, Math.min(r.s.length, 22));
	}
	list.style.setProperty('--hw', v.hw + 'ch');
	list.style.setProperty('--sw', v.sw + 'ch');
	trim();
	if (v.follow) {
		slide(v.rows.length);
		list.scrollTop = list.scrollHeight;
	} else if (end) slide(v.lo);
	feet();
}

// trim forgets the oldest rows, but none that the reader may look at: see full.
function trim() {
	let k = 0;
	const most = v.follow ? v.rows.length - 1 : v.mode === 'live' ? 0 : v.lo - SHIFT;
	for (; k < most && (v.rows.length - k > KEEP || v.chars > KEEP_CHARS); k++) v.chars -= v.rows[k].b.length;
	if (!k) return;
	v.rows.splice(0, k);
	v.dropped += k;
	for (let i = v.lo; i < Math.min(k, v.hi); i++) list.firstChild.remove();
	for (const i of ['lo', 'hi']) v[i] = Math.max(0, v[i] - k);
	for (const i of ['cur', 'from']) v[i] = Math.max(-1, v[i] - k);
}

// full reports whether reading has to stop. What is beyond a paused reader waits in the log.
function full(x) {
	const n = x.pending.length;
	return x.mode === 'live' ? !x.follow && (x.unseen + n >= KEEP || x.chars > 2 * KEEP_CHARS) : x.rows.length + n >= x.limit;
}

// take makes rows of events. x.last is behind the last event that was taken: reading resumes there.
function take(x, events, format) {
	for (const e of events) {
		if (full(x)) return;
		if (e.kind === 'end') { x.ended = true; return; }
		if (e.kind === 'failed') throw new Refused(400, e.data);
		if (e.kind === 'skipped') {
			const s = JSON.parse(e.data);
			push(x, s.exact ? {note: 'Skipped ' + lines(s.lines) + (filters().size ? ', of which some may match' : '') + ': this page could not keep up. Show them', go: {from: s.from, to: s.to}, b: ''} :
				{note: 'Lines from ' + s.from + ' to ' + s.to + ' are no longer in the log', b: ''});
		} else if (e.data !== null) {
			const r = JSON.parse(e.data);
			if (!x.floor || compare(r.position, x.floor) >= 0) push(x, row(r.position, e.id, r, format));
		}
		if (e.id) x.last = e.id;
	}
}

// row is a line between two positions. A log in JSON has its text as JSON does.
function row(p, n, {time: t = '', host: h = '', source: s = '', body: b = ''}, format) {
	if (format === 'json' && t) try { b = JSON.parse('"' + b + '"'); } catch { /* as it is */ }
	return {p, n, t, h, s, b};
}

// read reads the log until the list is full, the end, or for ever. After a break it resumes
// behind the last line that it has: nothing is missing, and nothing comes twice.
async function read(x) {
	if (x.reading) return;
	x.reading = true;
	const stop = x.stop = new AbortController(), signal = stop.signal;
	for (let tries = 0; !signal.aborted && !full(x) && !(x.ended && x.mode === 'search');) {
		try {
			const r = await ask('tail?' + tailQuery(x), {signal, headers: x.last ? {'Last-Event-ID': x.last} : {}});
			trouble('tail');
			tries = 0;
			x.connected = true;
			await receive(x, r, signal);
			if (!x.ended && !full(x)) await sleep(300, signal); // the collector closed it
		} catch (e) {
			x.connected = false;
			if (signal.aborted || !await refused(x, e, ++tries, signal)) break;
		}
	}
	stop.abort();
	x.reading = x.connected = false;
	if (x === v) feet();
}

function tailQuery(x) {
	const q = filters();
	q.set('format', 'json');
	if (x.mode === 'live') q.set('lag', '16MiB'); else q.set('follow', '0');
	if (x.mode === 'live' && !x.last) q.set('n', 500);
	return x.mode === 'live' ? q : range(q);
}

async function receive(x, r, signal) {
	const format = r.headers.get('Fanin-Format'), parse = parser(), body = r.body.pipeThrough(new TextDecoderStream()).getReader();
	await Promise.race([c.shown, sleep(150, signal)]); // rows take longer
	for (;;) {
		feet();
		const {value, done} = await body.read();
		if (done || signal.aborted) return;
		take(x, parse(value), format);
		if (full(x) || x.ended) { body.cancel().catch(() => {}); return; }
		// No faster than the screen: then the collector says exactly what it has to skip.
		if (x.pending.length > 2000) await new Promise(requestAnimationFrame);
	}
}

// refused says why there are no lines, and waits; false: trying again is of no use.
async function refused(x, e, tries, signal) {
	if (e.status === 410 && x.last && tries < 3) {
		push(x, {note: 'The log no longer has the place where this page was, ' + x.last + '. Show what follows', go: {from: 'start'}, b: ''});
		x.last = x.floor = '';
		return true;
	}
	if (e.status < 500) x.error = whyNot(e); else await retryIn('tail', e, tries, signal);
	return !x.error;
}

function start() {
	v = newList(state.at ? 'around' : state.from ? 'search' : 'live');
	$('detail').hidden = true;
	if (state.at) around(v); else read(v);
	feet();
}

async function context(x, at, before, after) {
	const {format} = (status || await askStatus()).log, c = await askJSON('context?' + new URLSearchParams({at, before, after}), {signal: x.stop.signal});
	trouble('tail');
	if (before) x.before = c.more_before;
	if (after) x.after = c.more_after;
	return c.lines.map(r => row(r.at, r.next, r, format));
}

async function around(x) {
	x.reading = true;
	for (let tries = 1; !x.stop.signal.aborted; tries++) {
		try {
			for (const r of await context(x, state.at, 100, 100)) {
				r.at = compare(r.p, state.at) <= 0 && compare(state.at, r.n) < 0;
				push(x, r);
			}
			flush();
			choose(Math.max(0, x.rows.findIndex(r => r.at)));
			const e = list.children[v.cur - v.lo];
			if (e) list.scrollTop = e.offsetTop - list.clientHeight / 2;
			break;
		} catch (e) {
			if (x.stop.signal.aborted) return;
			if (e.status < 500) { x.error = whyNot(e); break; }
			await retryIn('tail', e, tries, x.stop.signal);
		}
	}
	x.reading = false;
	feet();
}

async function more(x, before) {
	if (x.reading || x.error) return;
	if (x.mode === 'search' && !before && !x.ended) {
		x.limit = x.rows.length + PAGE;
		read(x);
	}
	if (x.mode !== 'around' || !(before ? x.before : x.after)) return;
	x.reading = true;
	const have = x.rows.filter(r => r.p), known = new Set(have.map(r => r.p));
	try {
		const got = await context(x, before ? have[0].p : have.at(-1).n, before ? 200 : 0, before ? 0 : 200), rows = got.filter(r => !known.has(r.p));
		if (!rows.length) x[before ? 'before' : 'after'] = false;
		if (before) {
			for (const r of rows) r.q = ++serial;
			x.rows.unshift(...rows);
			for (const i of ['lo', 'hi', 'cur', 'from']) x[i] += rows.length;
			slide(x.lo - SHIFT);
		} else {
			for (const r of rows) push(x, r);
			if (x === v) flush(); // or they come twice
		}
	} catch (e) {
		if (e.status < 500) x.before = x.after = false; else await retryIn('tail', e, 3, x.stop.signal);
	}
	x.reading = false;
	feet();
}

// follow continues the live tail at its end.
function follow() {
	if (v.mode !== 'live') { live(); return; }
	Object.assign(v, {held: false, follow: true, unseen: 0, cur: -1, from: -1});
	if (v.reading) flush(); else resume(v);
}

// resume reads on where the live tail was. If that is too far from the end, it skips, and says so.
async function resume(x) {
	try {
		const far = x.last && x.follow ? distance(await askStatus(), x.last) : 0;
		if (far > AWAY) {
			push(x, {note: 'Skipped ' + bytes(far) + ' of the log after ' + x.last + '. Show them', go: {from: x.last}, b: ''});
			x.floor = x.last;
			x.last = '';
		}
	} catch { /* read says what is wrong */ }
	if (x !== v) return;
	flush();
	read(x);
}

function pause() {
	if (v.mode !== 'live') return;
	if (!v.follow) { follow(); set('say', 'following'); return; }
	v.held = true;
	v.follow = false;
	set('say', 'paused');
	feet();
}

const chosen = () => v.cur < 0 ? [] : v.rows.slice(Math.min(v.cur, v.from), Math.max(v.cur, v.from) + 1).filter(r => r.p);

function mark() {
	const a = Math.min(v.cur, v.from), b = Math.max(v.cur, v.from);
	list.removeAttribute('aria-activedescendant');
	for (const e of all('#list [aria-selected=true]')) { e.setAttribute('aria-selected', 'false'); e.classList.remove('now'); }
	for (let i = Math.max(a, v.lo, 0); i <= b && i < v.hi; i++) {
		const e = list.children[i - v.lo];
		e.setAttribute('aria-selected', 'true');
		if (i === v.cur) { e.classList.add('now'); list.setAttribute('aria-activedescendant', e.id); }
	}
}

function choose(i, extend) {
	if (!v.rows.length) return;
	v.cur = Math.max(0, Math.min(i, v.rows.length - 1));
	if (!extend || v.from < 0) v.from = v.cur;
	v.follow = false;
	if (v.cur < v.lo + 5 && v.lo > 0 || v.cur >= v.hi - 5 && v.hi < v.rows.length) slide(v.cur - SHIFT);
	else mark();
	list.children[v.cur - v.lo].scrollIntoView({block: 'nearest'});
	if (v.cur === 0) more(v, true);
	if (v.cur === v.rows.length - 1) more(v, false);
	if (!$('detail').hidden) detail();
	feet();
}

function open() {
	const r = v.rows[v.cur];
	if (r?.go) go({to: '', at: '', ...r.go}); else if (r) detail();
}

function detail() {
	const r = v.rows[v.cur], most = 1 << 18;
	$('detail').hidden = !r.p;
	if (!r.p) return;
	facts($('facts'), [['time', r.t && moment(r.t) + (utc ? '' : ' (' + r.t + ')')], ['host', r.h], ['source', r.s], ['position', r.p], ['length', bytes(r.b.length)]]);
	$('full').replaceChildren(...visible(r.b.slice(0, most), v.match, true), r.b.length > most ? ' … Download has all of it' : '');
	$('d-host').disabled = !r.h;
	$('d-source').disabled = !r.s;
	list.children[v.cur - v.lo]?.scrollIntoView({block: 'nearest'});
}

async function copy(text, what) {
	const done = await navigator.clipboard?.writeText(text).then(() => what + ' copied', () => ''); // not there over plain HTTP
	set('mode', done || text);
	set('say', done);
}

function feet() {
	if (!feet.timer) feet.timer = setTimeout(() => { feet.timer = 0; if (v) feetNow(); }, 60);
}

function feetNow() {
	const n = v.rows.length, isLive = v.mode === 'live', kept = isLive && !v.reading && full(v);
	$('pause').hidden = !isLive;
	set('pause', v.follow ? 'Pause' : 'Continue');
	$('pause').classList.toggle('on', !v.follow);
	$('jump').hidden = isLive && (v.follow || !n);
	set('jump', !isLive ? 'Live ↓' : v.unseen ? lines(v.unseen) + (kept ? ' and more' : '') + ' since ↓' : 'Follow ↓');
	set('mode', mode(kept));
	set('count', (v.dropped ? count(v.dropped) + ' above not kept · ' : '') + lines(n) + ' here');
	set('empty', v.error || (n ? '' : nothing()));
	$('empty').hidden = !$('empty').textContent;
	edges();
}

function mode(kept) {
	if (v.mode === 'around') return 'Around ' + state.at;
	if (v.mode === 'live') {
		if (v.follow) return v.connected ? 'Live' : 'Live, connecting';
		return kept ? 'Paused; the place is kept, and newer lines wait in the log' : 'Paused; newer lines gather below';
	}
	const far = status && v.last && Math.round(100 - 100 * distance(status, v.last) / total(status));
	return 'From ' + state.from + (state.to ? ' to ' + state.to : '') + (v.ended ? ', complete' : !v.reading ? ', more below' : far ? ', read to ' + v.last + ', ' + far + ' % of the log' : ', reading');
}

function nothing() {
	if (v.mode === 'live' && v.connected) return (filters().size ? 'No line has matched yet.' : 'The log is empty.') + '\nNew lines appear here as they are committed.';
	return v.reading ? v.mode === 'search' ? 'Searching …' : 'Loading …' : filters().size ? 'No line in this range matches these filters.' : 'There are no lines here.';
}

let status = null, before = null, rate = null;

async function askStatus() {
	status = await askJSON('status', {signal: AbortSignal.timeout(20000)});
	const now = {lines: status.log.lines, at: performance.now()};
	if (before && now.at < before.at + 500) return status;
	rate = before && now.lines >= before.lines ? 1000 * (now.lines - before.lines) / (now.at - before.at) : null;
	before = now;
	return status;
}

const sizeOf = (s, g) => g.generation === s.log.generation ? s.log.size : /removed|lost/.test(g.state) ? 0 : g.size;
const total = s => s.log.generations.reduce((n, g) => n + sizeOf(s, g), 0);

// distance is how many bytes of the log are behind a position.
function distance(s, at) {
	const [g, o] = position(at);
	return s.log.generations.reduce((n, x) => n + (x.generation < g ? 0 : Math.max(0, sizeOf(s, x) - (x.generation === g ? o : 0))), 0);
}

function health(s) {
	const bad = !s.log.healthy ? 'not accepting lines: ' + s.log.trouble : s.stalled ? 'intake is stalled: ' + s.stalled : '';
	$('health').className = bad ? 'bad' : 'good';
	set('health-text', bad ? 'not accepting lines' : 'accepting lines' + (rate === null ? '' : ', ' + count(Math.round(rate)) + '/s'));
	trouble('log', bad && 'The collector is ' + plain(bad));
}

// poll asks for what the view shows, while the page is visible. Many pages do not ask all at once.
let polling = new AbortController();
async function poll(first) {
	polling.abort();
	const {signal} = polling = new AbortController();
	c.shown = first && chart(true).then(() => new Promise(f => requestAnimationFrame(() => setTimeout(f)))); // until it is painted
	for (let tries = 0; !signal.aborted && !doc.hidden;) {
		try {
			const from = performance.now(), s = await askStatus();
			if (signal.aborted) return;
			health(s);
			trouble('status');
			tries = 0;
			if (state.view !== 'lines') await tables(s, signal); else if (!state.at) chart(false);
			const took = performance.now() - from; // what is large is asked for less often
			await sleep(Math.max((state.view === 'lines' ? 10000 : 4000) * (0.8 + 0.4 * Math.random()), 10 * took), signal);
		} catch (e) {
			if (signal.aborted) return;
			$('health').className = 'bad';
			set('health-text', 'no answer');
			await retryIn('status', e, ++tries, signal);
		}
	}
}

// table fills a table, and makes it once: what was scrolled stays. A column is a field and how to
// show it (n count, e count that should be 0, b bytes, a age, m name), or a function (#: to the right).
function table(title, note, rows, empty, columns) {
	const find = $('find').value.trim().toLowerCase(), most = 500, id = 't-' + title.replaceAll(' ', '-');
	const show = {n: count, b: bytes, a: t => t ? span(age(t)) : '–', e: n => [count(n), n ? 'bad' : ''], m: x => x || '–'};
	const cols = Object.entries(columns).map(([h, f]) => {
		const [field, how] = f.bind ? ['', h[0] === '#' && 'n'] : f.split(' ');
		return {h: h.replace('#', ''), kind: how === 'm' ? 'm' : how ? 'n' : '', f: field ? r => show[how || 'm'](r[field]) : f};
	});
	const all = rows.map(r => cols.map(c => [c.f(r)].flat()));
	const found = all.filter(r => r.join(' ').toLowerCase().includes(find));
	let box = $(id);
	if (!box) {
		$('tables').append(box = el('div', {id}, el('h2', null, title, el('small')),
			el('div', {class: 'scroll', tabindex: 0, role: 'region', 'aria-label': title}, el('table', null,
				el('thead', null, el('tr', null, ...cols.map(c => el('th', {scope: 'col', class: c.kind}, c.h)))), el('tbody'))), el('p', {class: 'nothing'})));
	}
	const [head, scroll, nothing] = box.children, over = found.length - most;
	head.lastChild.textContent = [rows.length && count(rows.length), note].filter(Boolean).join(' · ');
	scroll.hidden = !found.length;
	nothing.textContent = !rows.length ? empty : !found.length ? 'Nothing here has this name.' : over > 0 ? count(over) + ' more: use Find.' : '';
	nothing.hidden = !nothing.textContent;
	scroll.firstChild.tBodies[0].replaceChildren(...found.slice(0, most).map(r => el('tr', null, ...r.map(([text, kind], i) =>
		el('td', {class: [cols[i].kind, kind || (/^0( B)?$/.test(text) ? 'zero' : '')].join(' '), title: String(text).length > 44 && plain(text)}, ...visible(String(text)))))));
}

function facts(box, list) {
	box.replaceChildren(...list.filter(f => f[1]).map(([k, t, kind]) => el('div', {class: kind}, el('dt', null, k), el('dd', null, ...visible(t)))));
}

let redraw = () => {};
async function tables(s, signal) {
	const view = state.view, path = view === 'agents' ? 'streams' : view === 'groups' && s.groups ? 'workers' : '';
	const more = path ? await askJSON(path, {signal}) : [];
	if (signal.aborted || view !== state.view) return;
	if (!$('tables').firstChild?.id) $('tables').replaceChildren();
	redraw = () => ({agents: agentTables, groups: groupTables, inputs: inputTables, log: logTables})[view](s, more);
	redraw();
}

const silence = t => t ? [span(age(t)), age(t) > 3600 ? 'warn' : ''] : ['never', 'warn'];

// Silent agents come first: those are what an operator looks for.
function agentTables(s, streams) {
	const agents = new Map();
	const of = id => agents.get(id) || agents.set(id, {id, streams: 0, seen: ''}).get(id);
	for (const a of s.agents || []) Object.assign(of(a.session ? a.agent + '/' + a.session : a.agent), a);
	for (const t of streams) {
		if (!t.agent) continue;
		const x = of(t.agent);
		x.host ||= t.host;
		x.streams++;
		if (t.seen > x.seen) x.seen = t.seen;
	}
	const bySeen = (a, b) => Date.parse(a.seen || 0) - Date.parse(b.seen || 0);
	table('Agents', 'silent ones first', [...agents.values()].sort((a, b) => !!a.since - !!b.since || bySeen(a, b)),
		'No agent has connected yet. On a host: fanin-agent --to THIS-ADDRESS /var/log/app.log', {
			Agent: 'id m', State: a => a.since ? ['connected', 'good'] : ['not connected', 'bad'], '#Last line': a => silence(a.seen),
			Streams: 'streams n', 'Connected for': 'since a', Address: 'address m', Host: 'host m'});
	table('Streams', 'silent ones first', streams.sort(bySeen), 'No streams: nothing has come from a file, a journal or a pipe.', {
		Source: 'source m', '#Last line': t => silence(t.seen), Host: 'host m', Agent: 'agent m', Kind: 'kind', Offset: 'offset n'});
}

function groupTables(s, workers) {
	table('Groups', 'farthest behind first', [...s.groups || []].sort((a, b) => b.lag_seconds - a.lag_seconds),
		'There are no groups of workers. With [collector.work] in the configuration, workers take lines.', {
			Group: 'group m', '#Workers': g => [count(g.workers), g.workers ? '' : 'bad'], 'Lines behind': 'lag_lines n', Bytes: 'lag_bytes b',
			'#Oldest': g => g.lag_seconds ? [span(g.lag_seconds), g.lag_seconds > 300 ? 'warn' : ''] : '–', 'In flight': 'in_flight n', Waiting: 'waiting n',
			Accepted: 'accepted n', Redelivered: 'redelivered n', Dead: 'dead e', Expired: 'expired e', Position: 'position m',
			Problems: g => g.problems ? [g.problems.join('; '), 'bad'] : '–'});
	if (s.groups) table('Workers', '', workers, 'No worker is connected.', {
		Worker: 'name m', Group: 'group m', State: w => w.suspended ? ['suspended', 'bad'] : ['connected', 'good'], 'In flight': 'in_flight n',
		Credit: 'credit n', 'Handed out': 'handed n', Accepted: 'acked n', 'Connected for': 'since a', Address: 'address m'});
}

const PROMISES = {A: 'exactly once, in order', B: 'once within the key window', C: 'once across a crash', D: 'what arrives'};

function inputTables(s) {
	const reasons = i => Object.entries(i.rejected_lines || {});
	table('Inputs', 'lines since the start', [...s.inputs || []].sort((a, b) => b.received_lines - a.received_lines), 'No inputs.', {
		Input: 'input m', Class: i => i.class[0] + ': ' + PROMISES[i.class[0]], Received: 'received_lines n', Written: 'written_lines n', Bytes: 'written_bytes b',
		Duplicate: 'duplicate_lines n', '#Rejected': i => { const n = reasons(i).reduce((a, r) => a + r[1], 0); return [count(n), n ? 'bad' : '']; },
		Unsure: 'unsure_lines e', Dropped: 'dropped_lines e', Split: 'split_lines n', 'Why rejected': i => reasons(i).map(([k, n]) => k + ' ' + count(n)).join(', ') || '–'});
	table('Listening', '', s.listen || [], 'No listener is open.', {Listener: x => x});
	const servers = ['nats', 'redis', 'zmq'].flatMap(kind => (s[kind] || []).map(x => ({kind, ...x})));
	if (servers.length) table('Servers', '', servers, '', {Kind: 'kind', Address: 'url m', State: x => x.trouble ? [x.trouble, 'bad'] : ['connected', 'good']});
}

function logTables(s) {
	const l = s.log, files = l.generations.filter(g => g.state !== 'removed').reverse(), r = l.retention;
	if (!$('log')) $('tables').append(el('dl', {id: 'log', class: 'facts'}));
	facts($('log'), [
		['Log', l.path, 'wide'], ['State', l.healthy ? 'accepting lines' : l.trouble, l.healthy ? '' : 'wide'],
		['Kept', bytes(total(s)) + ' of text'], ['Reaches back', files.length && span(age(files.at(-1).opened))], ['Lines since the start', count(l.lines)],
		['Live file', bytes(l.size)], ['Sync', l.sync], ['Format', l.format],
		['Disk free', l.disk_free_bytes && bytes(l.disk_free_bytes)],
		['Keeps', r && ([r.bytes > 0 && bytes(r.bytes), r.files && count(r.files) + ' files', r.age_seconds && span(r.age_seconds)].filter(Boolean).join(', ') || 'all')],
		['Running since', moment(s.since)], ['Version', s.version]]);
	table('Files', 'newest first', files, '', {
		'#Generation': g => String(g.generation), File: 'name m', State: g => [g.state, {lost: 'bad', live: 'good'}[g.state]],
		'#Text': g => bytes(sizeOf(s, g)), Opened: g => moment(g.opened), Closed: g => moment(g.closed) || '–'});
	table('Who fills the disk', 'bytes in the files that are kept, since the start', [...s.senders || []].sort((a, b) => b.bytes - a.bytes), 'Nothing was received since the start.', {
		Sender: x => x.agent || x.host || 'all others together', Bytes: 'bytes b', Note: x => x.above_half ? ['more than half of what may be kept', 'warn'] : ''});
}

const c = {data: null, at: 0, key: '', cur: -1, sel: -1}; // cur and sel: the bars between which is chosen

async function chart(now) {
	const q = range(filters(['host', 'source']));
	if (!state.from) q.set('from', '1h');
	q.set('top', 12);
	const key = String(q);
	if (c.gone || !now && key === c.key && (state.to || Date.now() - c.at < 20000)) return;
	if (key !== c.key) c.cur = c.sel = -1;
	Object.assign(c, {key, at: Date.now()});
	try {
		const d = await askJSON('histogram?' + key, {signal: polling.signal});
		if (key !== c.key) return;
		c.data = grouped(d);
		$('chart').hidden = !!state.at;
		draw();
		legend();
		if (c.data.wait) setTimeout(() => v && key === c.key && chart(true), 1500);
	} catch (e) {
		if (e.status === 404) c.gone = $('chart').hidden = true;
		else if (e.name !== 'AbortError') set('chart-note', whyNot(e));
		c.at = 0;
	}
}

// grouped adds the series of each source together.
function grouped(d) {
	const by = {}, sum = x => x.reduce((a, b) => a + b, 0);
	for (const s of d.series || []) by['=' + s.source] = by['=' + s.source]?.map((n, i) => n + s.lines[i]) || s.lines;
	const series = Object.keys(by).map(k => ({source: k.slice(1), lines: by[k], sum: sum(by[k])})).sort((a, b) => b.sum - a.sum);
	return {start: Date.parse(d.start), step: d.step_seconds * 1000, total: d.total, n: d.total.length, series, other: d.other || [],
		wait: d.complete ? '' : d.reason || 'still counting', sum: sum(d.total), most: Math.max(1, ...d.total)};
}

const between = () => [Math.min(c.cur, c.sel < 0 ? c.cur : c.sel), Math.max(c.cur, c.sel)];
const barAt = e => Math.max(0, Math.min(c.data.n - 1, Math.floor(e.offsetX / $('canvas').clientWidth * c.data.n)));

function draw() {
	const canvas = $('canvas'), d = c.data, scale = devicePixelRatio, w = d && canvas.clientWidth, h = w && canvas.clientHeight, floor = h - 15;
	c.w = w;
	if (!w) return;
	canvas.width = Math.round(w * scale);
	canvas.height = Math.round(h * scale);
	const g = canvas.getContext('2d'), css = getComputedStyle(canvas), colour = name => g.fillStyle = css.getPropertyValue(name), bar = css.getPropertyValue('--bar');
	g.scale(scale, scale);
	const width = w / d.n, inner = Math.min(80, Math.max(0.7, width - (width > 4 ? 1 : 0))), [a, b] = between();
	colour('--chosen');
	if (c.cur >= 0) g.fillRect(a * width, 0, (b - a + 1) * width, floor);
	colour('--line');
	g.fillRect(0, floor, w, 1);
	const base = Array(d.n).fill(floor);
	for (const s of [...d.series, {lines: d.other}]) { // setting a colour is slow
		if (s.source === undefined) colour('--field'); else g.fillStyle = `oklch(${bar} ${hue(s.source)})`;
		s.lines.forEach((n, i) => {
			const high = n / d.most * (floor - 4);
			if (high > 0) g.fillRect(i * width, base[i] -= high, inner, high);
		});
	}
	colour('--soft');
	g.font = '10.5px ' + css.getPropertyValue('--mono');
	const every = Math.ceil(110 / width), long = d.step * d.n > 36 * 3600e3;
	for (let i = 0; i < d.n && i * width < w - 70; i += every) {
		const t = iso(d.start + i * d.step);
		g.fillRect(i * width, floor, 1, 4);
		g.fillText((long ? day(t).slice(5) + ' ' : '') + clock(t).slice(0, 5), i * width + 3, h - 3);
	}
	note();
}

function note() {
	const d = c.data, [a, b] = between(), sum = x => x.slice(a, b + 1).reduce((p, q) => p + q, 0), at = i => iso(d.start + i * d.step);
	let text = (d.wait && plain(d.wait) + ' · ') + lines(d.sum) + ', bars of ' + span(d.step / 1000) + ', highest ' + count(d.most);
	if (c.cur >= 0) {
		const tops = d.series.map(s => [sum(s.lines), plain(s.source)]).filter(s => s[0]).sort((p, q) => q[0] - p[0]).slice(0, 3);
		text = moment(at(a)) + ' – ' + clock(at(b + 1)).slice(0, 5) + ': ' + [lines(sum(d.total)), ...tops.map(s => s[1] + ' ' + count(s[0]))].join(', ');
	}
	set('chart-note', text);
	$('legend').hidden = c.cur >= 0;
}

function legend() {
	$('legend').replaceChildren(...c.data.series.slice(0, 10).map(s => el('li', null, el('button', {hue: hue(s.source),
		click: () => filter('source', s.source)}, el('i'), plain(s.source), ' ', el('b', null, count(s.sum))))));
}

function choice(cur, sel) {
	Object.assign(c, {cur, sel});
	draw();
}

function zoom() {
	const d = c.data, [a, b] = between();
	if (c.cur < 0) return;
	c.cur = c.sel = -1;
	go({from: iso(d.start + a * d.step), to: iso(d.start + (b + 1) * d.step), at: ''});
}

function zoomOut() {
	if (c.sel >= 0) choice(-1, -1); else live();
}

function chartKeys(e) {
	if (!c.data) return;
	const step = {ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10, Home: -1e9, End: 1e9}[e.key];
	if (step) choice(Math.max(0, Math.min(c.data.n - 1, c.cur < 0 ? c.data.n - 1 : c.cur + step)), !e.shiftKey || c.cur < 0 ? -1 : c.sel < 0 ? c.cur : c.sel);
	else if (e.key === 'Enter') zoom();
	else if (e.key === 'Escape') zoomOut();
	else return;
	e.preventDefault();
	e.stopPropagation();
}

let shown = null;
function show() {
	const isLines = state.view === 'lines';
	if (url() === shown) return;
	shown = url();
	set('title', VIEWS[state.view]);
	doc.title = VIEWS[state.view] + ' · fanin';
	for (const a of all('nav a')) a.dataset.view === state.view ? a.setAttribute('aria-current', 'page') : a.removeAttribute('aria-current');
	$('lines-view').hidden = !isLines;
	$('chart').hidden = !!state.at || !c.data;
	$('table-view').hidden = isLines;
	poll(isLines && !state.at);
	settings(); // slow
	if (isLines) {
		bar();
		start();
	} else {
		v?.stop.abort();
		v = null;
		redraw = () => {};
		$('tables').replaceChildren(el('p', {class: 'nothing'}, 'Loading …'));
	}
}

function bar() {
	$('range').value = state.to || state.at ? 'custom' : state.from;
	if (!$('range').value) $('range').value = state.from ? 'custom' : '';
	$('custom').hidden = $('range').value !== 'custom' || !!state.at;
	$('from').value = state.from;
	$('to').value = state.to;
	$('chips').hidden = state.at || !FILTERS.some(k => state[k].length);
	$('chips').replaceChildren(...FILTERS.flatMap(k => state[k].map(x => el('li', {class: 'chip ' + k}, el('button', {
		title: 'Remove this filter', click: () => { go({[k]: state[k].filter(y => y !== x)}); $('text').focus(); },
	}, el('span', {class: 'k'}, k), el('span', {class: 'v'}, ...visible(x)), el('span', {'aria-hidden': 'true'}, '×'))))));
}

function theme() {
	const t = store.faninTheme || '', night = t ? t === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
	doc.documentElement.dataset.theme = night ? 'dark' : 'light';
	set('theme', {dark: '☾', light: '☀'}[t] || '◐');
	$('theme').title = 'Theme: ' + (t || 'as the system');
	draw();
}

function nextTheme() {
	store.faninTheme = {dark: 'light', light: ''}[store.faninTheme] ?? 'dark';
	theme();
}

function toggles() {
	for (const [id, on] of [['wrap', store.faninWrap === '1'], ['utc', utc]]) {
		list.classList.toggle(id, on);
		$(id).setAttribute('aria-pressed', on);
	}
	if (v?.follow) list.scrollTop = list.scrollHeight;
}

function wrap() {
	store.faninWrap = 1 - (store.faninWrap || 0);
	toggles();
}

function zone() {
	utc = !utc;
	store.faninUTC = Number(utc);
	list.replaceChildren();
	const {lo} = v;
	v.lo = v.hi = 0;
	slide(lo);
	toggles();
	draw();
}

function downloads() {
	const rows = chosen(), first = v.rows.find(r => r.p), q = state.at ? new URLSearchParams() : range(filters());
	if (rows.length > 1) { q.set('from', rows[0].p); q.set('to', rows.at(-1).n); } else if (!state.from && first) q.set('from', first.p);
	set('download-what', rows.length > 1 ? 'The ' + lines(rows.length) + ' that are selected' : 'From ' + (state.from || 'the first line here') + ' to ' + (state.to || 'the end'));
	for (const a of all('.menu a')) { q.set('format', a.dataset.format); a.href = 'download?' + q; }
}

function focusFilter(kind) {
	$('kind').value = kind;
	$('text').select();
	$('text').focus();
}

const step = n => e => choose(v.cur < 0 ? v.hi - 1 : v.cur + n, e.shiftKey), current = () => v.rows[v.cur]?.p;
// keys are the shortcuts of the lines. A field that is typed in has its own.
const keys = {
	j: step(1), k: step(-1), J: step(1), K: step(-1), ArrowDown: step(1), ArrowUp: step(-1),
	g: () => choose(0), Home: () => choose(0), G: follow, End: follow, ' ': pause, Enter: open, w: wrap, z: zone,
	'/': () => focusFilter('include'), x: () => focusFilter('exclude'), h: () => focusFilter('host'), s: () => focusFilter('source'),
	c: () => current() && go({at: current()}),
	l: () => current() && copy(location.origin + location.pathname + '#at=' + current(), 'Link'),
	y: () => { const r = chosen(); if (r.length) copy(r.map(x => [x.t, x.h, x.s && x.s + ':', x.b].filter(Boolean).join(' ')).join('\n'), lines(r.length)); },
};

function escape() {
	if ($('download').open) $('download').open = false;
	else if (!$('detail').hidden) { $('detail').hidden = true; list.focus(); }
	else if (state.at) go({at: ''}); else live();
}

function key(e) {
	const t = e.target, typing = /^(INPUT|SELECT)$/.test(t.tagName), press = /^(BUTTON|A|SUMMARY)$/.test(t.tagName), isLines = state.view === 'lines';
	if (e.ctrlKey || e.metaKey || e.altKey || $('help').open) return;
	if (e.key === 'Escape') { if (typing) (isLines ? list : $('main')).focus(); else if (isLines) escape(); return; }
	if (typing || press && /^(Enter| )$/.test(e.key) || t === $('full') && /^(Arrow|Page|Home|End| )/.test(e.key)) return;
	if (e.key === '?') $('help').showModal();
	else if (e.key === 't') nextTheme();
	else if (e.key >= '1' && e.key <= '5') go({view: Object.keys(VIEWS)[e.key - 1], at: ''});
	else if (isLines && keys[e.key]) keys[e.key](e);
	else if (e.key === '/') $('find').focus();
	else return;
	e.preventDefault();
}

let lastTop = 0;
function scrolled() {
	if (!v) return;
	const end = list.scrollHeight - list.scrollTop - list.clientHeight, up = list.scrollTop < lastTop - 1;
	lastTop = list.scrollTop;
	if (v.follow && up && end > 8) { v.follow = false; feet(); }
	if (v.mode === 'live' && v.reading && !v.held && v.cur < 0 && !up && end <= 8 && v.hi === v.rows.length) { v.follow = true; v.unseen = 0; feet(); }
	edges();
}

// edges brings more rows where the reader is near the first or the last one.
function edges() {
	if (v.follow) return;
	if (list.scrollTop < 400 && (v.lo || v.before)) v.lo ? slide(v.lo - SHIFT) : more(v, true);
	else if (list.scrollHeight - list.scrollTop - list.clientHeight < 400) v.hi < v.rows.length ? slide(v.lo + SHIFT) : more(v, false);
}

function clicked(e) {
	const row = e.target.closest('[role=option]');
	if (!row || String(getSelection())) return; // text is being marked
	const i = v.lo + [...list.children].indexOf(row), again = i === v.cur && !$('detail').hidden;
	choose(i, e.shiftKey);
	if (again) escape(); else if (!e.shiftKey) open();
}

function view(e) {
	if (e.ctrlKey || e.metaKey || e.shiftKey) return;
	e.preventDefault();
	const next = e.currentTarget.dataset.view || 'lines';
	if (next === 'lines' && state.view === next) live(); else go({view: next, at: ''});
}

// A hidden page holds no connection. Seen again, it goes on where it was.
function visibility() {
	if (doc.hidden) {
		polling.abort();
		if (v?.mode === 'live') v.stop.abort();
		return;
	}
	poll();
	if (v?.mode === 'live') setTimeout(() => v && !v.reading && !full(v) && resume(v), 50);
}

function listen() {
	const on = (id, f, kind = 'click') => $(id).addEventListener(kind, f), submit = f => e => { e.preventDefault(); f(); };
	addEventListener('popstate', () => { state = readURL(); show(); });
	addEventListener('keydown', key);
	doc.addEventListener('visibilitychange', visibility);
	matchMedia('(prefers-color-scheme: dark)').addEventListener('change', theme);
	new ResizeObserver(() => { if (c.w !== $('canvas').clientWidth) draw(); if (v?.follow) list.scrollTop = list.scrollHeight; }).observe(list);
	for (const a of all('nav a, .brand')) a.onclick = view;
	on('list', scrolled, 'scroll'); on('list', clicked);
	on('range', () => {
		const from = $('range').value;
		if (from !== 'custom') { go({from, to: '', at: ''}); return; }
		$('custom').hidden = false;
		$('from').focus();
	}, 'change');
	on('custom', submit(() => go({from: $('from').value.trim() || 'start', to: $('to').value.trim(), at: ''})), 'submit');
	on('filter', submit(() => { const x = $('text').value; $('text').value = ''; filter($('kind').value, x); }), 'submit');
	on('find', () => redraw(), 'input');
	on('download', downloads, 'toggle');
	for (const [id, f] of Object.entries({pause, wrap, utc: zone, theme: nextTheme, jump: follow, 'help-open': () => $('help').showModal(), 'd-close': escape, 'd-context': keys.c,
		'd-link': keys.l, 'd-copy': keys.y, 'd-host': () => filter('host', v.rows[v.cur].h), 'd-source': () => filter('source', v.rows[v.cur].s)})) on(id, f);
	let drag = false;
	const chartOn = (kind, f) => on('canvas', e => c.data && f(e), kind);
	chartOn('keydown', chartKeys);
	chartOn('blur', () => choice(-1, -1));
	chartOn('pointerdown', e => { $('canvas').setPointerCapture(e.pointerId); drag = true; choice(barAt(e), barAt(e)); });
	chartOn('pointermove', e => { if (drag || e.pointerType === 'mouse') choice(barAt(e), drag ? c.sel : -1); });
	chartOn('pointerup', () => { const wide = drag && c.sel !== c.cur; drag = false; if (wide) zoom(); });
	chartOn('pointerleave', () => { if (!drag) choice(-1, -1); });
}

function login() { // and back to the place of a link
	store.faninBack = location.search + location.hash;
	location.assign('login');
}

async function who() {
	try {
		const w = await askJSON('whoami');
		set('who', w.session ? plain(w.name) : '');
		$('logout').hidden = !w.session;
		if (w.login && !w.roles?.includes('read')) { login(); return; }
		const back = store.faninBack;
		store.faninBack = '';
		if (!back || url() !== location.pathname) return;
		history.replaceState(null, '', back);
		state = readURL();
		show();
	} catch { /* a collector without access rules */ }
}

show(); // sends requests
listen();
toggles();
theme();
who();
})();
