// The dashboard: takes what the node says each second and shows it. Everything that comes is text, never markup.
import { Mesh, short, stateOf } from './mesh.js';

const $ = (id) => document.getElementById(id);
const SVG = 'http://www.w3.org/2000/svg';
const SAMPLES = 300;
const SAMPLES_SHOWN_MIN = 60;
const EVENTS = 60;
const NAMES = { ok: 'in step', behind: 'differs', silent: 'silent', absent: 'not connected', blocked: 'blacklisted' };
const SIGNS = { ok: ['✓', 'ok'], behind: ['◐', 'warn'], silent: ['…', 'soft'], absent: ['×', 'soft'], blocked: ['⊘', 'bad'] };
const KINDS = {
  'session-opened': ['+', 'ok', 'Session opened'], 'session-closed': ['−', 'warn', 'Session closed'],
  'epoch': ['◷', 'cool', 'Entered'], 'blocked': ['⊘', 'bad', 'Blocked'], 'unblocked': ['○', 'ok', 'Forgiven'], 'proof': ['‼', 'bad', 'Proof'],
  'rotated': ['↻', 'cool', 'Port changed'], 'synced': ['✓', 'ok', 'Synced'], 'ready': ['✓', 'ok', 'Ready'], 'not-ready': ['!', 'bad', 'Not ready'],
  'trouble': ['!', 'warn', 'Trouble'], 'well': ['✓', 'ok', 'Well again'],
};
const TILES = [
  ['received', 'changes received', 'ok', (v) => [count(v), '/s']],
  ['written', 'changes written', 'violet', (v) => [count(v), '/s']],
  ['in_bytes', 'from peers', 'ok', (v) => bytes(v, '/s')],
  ['out_bytes', 'to peers', 'cool', (v) => bytes(v, '/s')],
  ['cpu', 'processor', 'warn', (v) => [(v * 100).toFixed(v < 0.1 ? 1 : 0), '% of a core']],
  ['lag_ms', 'loop lag, worst', 'warn', (v) => [v < 10 ? v.toFixed(1) : Math.round(v), 'ms']],
];

let history = {};
let events = [];
let shown = null;

// --- words and numbers ----------------------------------------------------------------------------------------

function count(value) {
  if (value >= 1e6) return (value / 1e6).toFixed(1) + ' M';
  if (value >= 1e4) return (value / 1e3).toFixed(1) + ' k';
  return value >= 10 || Number.isInteger(value) ? Math.round(value).toLocaleString('en') : value.toFixed(1);
}

function bytes(value, after = '') {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  while (value >= 1000 && at < units.length - 1) { value /= 1024; at += 1; }
  return [value >= 100 || !at ? Math.round(value).toString() : value.toFixed(1), units[at] + after];
}

function time(seconds) {
  if (seconds < 90) return Math.round(seconds) + ' s';
  if (seconds < 5400) return Math.round(seconds / 60) + ' min';
  if (seconds < 129600) return Math.round(seconds / 3600) + ' h';
  return Math.round(seconds / 86400) + ' d';
}

function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value != null) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

function draw(tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function sign([text, kind]) {
  return make('span', { class: 'sign ' + kind, 'aria-hidden': 'true' }, text);
}

// --- the parts ------------------------------------------------------------------------------------------------

function head(data) {
  if ($('account').textContent !== data.account) $('account').textContent = data.account;
  const up = data.now_ms / 1000 - data.node.start_time_s;
  $('facts').textContent = `${data.role || 'no member'} · netuid ${data.netuid} · ${data.url} · version ${data.version} · up ${time(up)}`;
  document.title = (data.health.ready ? '' : '! ') + 'Mycelium ' + short(data.account);
  const ready = $('ready');
  const text = data.health.ready ? '✓ ready' : '! not ready: ' + data.health.missing.join(', ');
  if (ready.textContent !== text) ready.textContent = text;
  ready.className = 'badge ' + (data.health.ready ? 'ok' : 'bad');
  const missing = $('missing');
  missing.hidden = data.health.ready;
  missing.replaceChildren(...data.health.checks.filter((check) => !check.ok).map((check) =>
    make('p', {}, make('b', {}, check.name), `: ${check.text}, for ${time(check.since_s)}. `, make('i', {}, check.remedy))));
}

function tiles() {
  for (const [name, title, colour] of TILES) {
    const svg = draw('svg', { viewBox: `0 0 ${SAMPLES} 44`, preserveAspectRatio: 'none', 'aria-hidden': 'true' });
    const area = draw('path', { class: 'area' }), line = draw('path', { class: 'spark' });
    area.style.fill = line.style.stroke = `var(--${colour})`;
    svg.append(area, line);
    $('tiles').append(make('div', { class: 'tile', id: 'tile-' + name }, make('h3', {}, title), make('strong', {}, '–'), svg));
  }
}

function rates(data) {
  for (const [name, , , words] of TILES) {
    const tile = $('tile-' + name), series = history[name] || [];
    const value = (data.rates || {})[name];
    if (value == null) continue;
    const [number, unit] = words(value);
    tile.querySelector('strong').replaceChildren(number + ' ', make('small', {}, unit));
    if (series.length < 2) continue;
    const top = Math.max(...series, 1e-9) * 1.15, wide = Math.max(SAMPLES_SHOWN_MIN, series.length);
    const x = (at) => (((wide - series.length + at) / (wide - 1)) * SAMPLES).toFixed(1);
    const points = series.map((one, at) => `${x(at)} ${(43 - (one / top) * 41).toFixed(1)}`);
    const line = 'M' + points.join('L');
    tile.querySelector('.spark').setAttribute('d', line);
    tile.querySelector('.area').setAttribute('d', `${line}L${SAMPLES} 44L${x(0)} 44Z`);
  }
}

function dot(kind, title) {
  const svg = draw('svg', { viewBox: '0 0 14 14', role: 'img', 'aria-label': title });
  const name = draw('title', {});
  name.textContent = title;
  svg.append(name, draw('circle', { class: 'd-' + kind, cx: 7, cy: 7, r: 5.2 }));
  if (kind === 'differs') svg.append(draw('path', { class: 'd-half', d: 'M7 1.8a5.2 5.2 0 0 1 0 10.4z' }));
  return svg;
}

function spaces(data) {
  $('spaces').replaceChildren(...data.spaces.map((space) => {
    const dots = data.peers.filter((peer) => !peer.blocked).map((peer) => {
      const same = (peer.spaces || {})[space.space];
      const [kind, words] = same == null ? ['none', 'has not said'] : same ? ['same', 'holds the same'] : ['differs', 'holds something else'];
      return dot(kind, `${short(peer.account)} ${words}`);
    });
    const agreed = space.compared ? `${space.agree} of ${space.compared} agree` : 'nobody to compare with';
    return make('div', { class: 'space' },
      make('div', { class: 'line' }, make('b', {}, space.space), make('span', {}, agreed)),
      make('div', { class: 'dots' }, dot('self', 'this node'), ...dots),
      make('div', { class: 'line' }, make('span', {}, `${count(space.changes)} changes of ${count(space.origins)} ${space.origins === 1 ? 'origin' : 'origins'}`), make('span', { class: 'mono', title: 'digest of what is held' }, space.vector.slice(0, 10))));
  }));
}

function epoch(data) {
  const found = data.epoch;
  $('epoch-number').textContent = found.number.toLocaleString('en');
  const share = Math.max(0, Math.min(1, (found.block_in_epoch + 1) / found.blocks));
  const bar = make('i');
  bar.style.width = (share * 100).toFixed(1) + '%';
  const facts = [['block', `${Math.min(found.blocks, found.block_in_epoch + 1)} of ${found.blocks}`], ['newest block', found.block.toLocaleString('en')]];
  if (found.age_s != null) facts.push(['age', time(found.age_s)]);
  if (found.head_age_s != null) facts.push(['head is', time(Math.max(0, found.head_age_s)) + ' old']);
  facts.push(['policy', found.policy ? found.policy.slice(0, 10) : 'the default']);
  const roles = Object.entries(found.roles).filter(([, number]) => number);
  $('epoch').replaceChildren(
    make('div', { class: 'bar', role: 'img', 'aria-label': `${Math.round(share * 100)} % of the epoch has passed` }, bar),
    make('dl', {}, ...facts.flatMap(([name, value]) => [make('dt', {}, name), make('dd', {}, value)])),
    make('div', { class: 'chips' }, ...roles.map(([role, number]) => make('span', { class: 'chip' }, make('b', {}, String(number)), ` ${role}${number === 1 ? '' : 's'}`))));
}

function lately(data) {
  $('events').replaceChildren(...events.slice(0, EVENTS).map((event) => {
    const [mark, kind, words] = KINDS[event.kind] || ['·', 'soft', event.kind];
    const said = make('p', {}, make('b', {}, words), ' ' + event.text);
    if (event.account) said.append(' ', make('span', { class: 'mono', title: event.account }, short(event.account)));
    return make('li', {}, sign([mark, kind]), said, make('time', { datetime: new Date(event.at_ms).toISOString() }, time(Math.max(0, (data.now_ms - event.at_ms) / 1000)) + ' ago'));
  }));
}

function blacklist(data) {
  $('listed').textContent = data.blacklist.length ? count(data.blacklist.length) : '';
  if (!data.blacklist.length) {
    $('blacklist').replaceChildren(make('li', { class: 'empty' }, 'Nobody is listed: everyone keeps the rules.'));
    return;
  }
  $('blacklist').replaceChildren(...data.blacklist.map((one) => {
    const until = one.until_s > data.now_ms / 1000 ? `, ${time(one.until_s - data.now_ms / 1000)} more` : '';
    const standing = one.standing === 'good' && one.frozen ? 'frozen' : one.standing;
    const by = one.by.map((who) => (who === 'node' ? 'this node' : who === 'operator' ? 'its operator' : short(who))).join(', ');
    return make('li', {}, sign(SIGNS.blocked), make('span', { class: 'mono', title: one.account }, ' ' + short(one.account) + ' '), make('b', {}, standing + until),
      make('p', {}, one.why.replace(/^(black|grey)listed[^:]*: /, '') || 'no reason given'), make('p', {}, 'by ' + by));
  }));
}

function feed(data) {
  const index = (cursor) => Number(cursor.split('-')[1]);
  $('feed-newest').textContent = `${count(index(data.feed.newest))} batches`;
  if (!data.feed.readers.length) {
    $('feed').replaceChildren(make('li', { class: 'empty' }, 'Nobody reads it: bridges and sinks would be here.'));
    return;
  }
  $('feed').replaceChildren(...data.feed.readers.slice(0, 16).map((one) => make('li', {},
    sign(one.behind > 1000 ? SIGNS.behind : SIGNS.ok), make('span', { class: 'mono', title: one.account }, ' ' + short(one.account) + ' '),
    make('b', {}, one.behind ? `${count(one.behind)} batches behind` : 'in step'),
    make('p', {}, `${one.spaces.join(', ')} · for ${time(one.since_s)}`))));
}

function fleet(data) {
  const found = data.fleet;
  $('fleet').hidden = !found;
  if (!found) return;
  $('fleet-problem').textContent = found.problem || `this is ${found.id}, which serves ${count(found.serving)}`;
  $('fleet-members').replaceChildren(...Object.entries(found.members).map(([name, one]) => make('li', { class: 'chip', title: one.url },
    sign(one.gone ? SIGNS.absent : one.leaving ? SIGNS.behind : SIGNS.ok), make('b', {}, ' ' + name),
    one.gone ? ' gone: ' + one.gone : ` ${count(one.shards)} shards${one.leaving ? ', leaving' : ''}`)));
  $('fleet-spaces').replaceChildren(...Object.entries(found.spaces).map(([name, space]) => make('div', { class: 'space' },
    make('div', { class: 'line' }, make('b', {}, name), make('span', {}, `${count(space.shards)} shards`)),
    make('div', { class: 'shards' }, ...space.owners.map((owner, at) => make('span', {
      class: owner === found.id ? 'own' : owner ? null : 'orphan', title: `shard ${at}: ${owner || 'nobody'}`,
    }, owner || '–'))))));
}

function nodes(data) {
  const linked = data.peers.filter((peer) => peer.state !== 'absent').length;
  $('linked').textContent = `${linked} of ${data.peers.length} connected`;
  document.body.dataset.linked = linked;
  document.body.dataset.peers = data.peers.length;
  $('members').textContent = data.clients ? `and ${data.clients} ${data.clients === 1 ? 'program' : 'programs'}` : '';
  const own = { account: data.account, uid: data.uid, role: data.role, stake_tao: data.stake_tao, says: data.node, own: true };
  $('rows').replaceChildren(...[own, ...data.peers].map((peer) => {
    const state = peer.own ? 'ok' : stateOf(peer);
    const cell = (text, kind) => make('td', { class: kind }, text);
    const number = (value, words) => cell(value == null ? '–' : words(value), 'num');
    const says = peer.says || {};
    const row = make('tr', { 'data-account': peer.account, 'data-state': state },
      make('td', { class: 'mono', title: peer.account }, short(peer.account)),
      make('td', {}, sign(SIGNS[state]), peer.own ? 'this node' : NAMES[state]),
      cell(peer.role || '–'), number(peer.uid, String), number(peer.stake_tao, (v) => count(v) + ' τ'),
      number(peer.rtt_ms, (v) => v.toFixed(v < 10 ? 2 : 0) + ' ms'), number(peer.lag_changes, count),
      number(peer.queued_bytes, (v) => bytes(v).join(' ')), number(says.peer_count, count),
      number(says.memory_usage_bytes, (v) => bytes(v).join(' ')), cell(says.version || '–', 'mono'));
    if (!peer.own) {
      row.classList.toggle('hot', !!mesh.hot && mesh.hot.account === peer.account);
      row.addEventListener('pointerenter', () => mesh.hover(peer));
      row.addEventListener('pointerleave', () => mesh.hover(null));
    }
    return row;
  }));
  const states = data.peers.map(stateOf);
  const summary = Object.entries(NAMES).map(([state, words]) => [states.filter((one) => one === state).length, words]).filter(([number]) => number);
  $('mesh').setAttribute('aria-label', `The mesh: ${summary.map(([number, words]) => `${number} ${words}`).join(', ') || 'no other node'}. The table of nodes says more.`);
}

function tip(peer, place) {
  const box = $('tip');
  for (const row of $('rows').children) row.classList.toggle('hot', !!peer && row.dataset.account === peer.account);
  if (!peer || !place) { box.hidden = true; return; }
  const lines = [`${peer.role}${peer.uid == null ? '' : ', uid ' + peer.uid} · ${NAMES[stateOf(peer)]}`];
  if (peer.rtt_ms != null) lines.push(`round trip ${peer.rtt_ms.toFixed(2)} ms · lag ${count(peer.lag_changes)} changes`);
  if (peer.remote) lines.push(`${peer.inbound ? 'from' : 'to'} ${peer.remote} · ${bytes(peer.queued_bytes).join(' ')} queued`);
  if (peer.says) lines.push(`says: ${peer.says.status}, ${peer.says.peer_count} peers, ${peer.says.version}`);
  if (peer.why) lines.push(peer.why);
  box.replaceChildren(make('b', { class: 'mono' }, short(peer.account)), ...lines.map((line) => make('span', {}, line)));
  box.hidden = false;
  const stage = box.parentElement.getBoundingClientRect();
  box.style.left = Math.max(4, Math.min(stage.width - box.offsetWidth - 4, place.x + 18)) + 'px';
  box.style.top = Math.max(4, Math.min(stage.height - box.offsetHeight - 4, place.y + 18)) + 'px';
}

// --- what comes -----------------------------------------------------------------------------------------------

function take(data) {
  if (data.history) {
    history = data.history;
    events = [...data.events].reverse();
  } else {
    for (const [name, value] of Object.entries(data.rates || {})) {
      const series = (history[name] ||= []);
      series.push(value);
      if (series.length > SAMPLES) series.shift();
    }
    events = [...[...data.events].reverse(), ...events].slice(0, 256);
  }
  shown = data;
  if (!document.hidden) show(data);
}

function show(data) {
  head(data); rates(data); mesh.show(data);
  // Who marks text to copy it must not lose it a second later.
  if (!getSelection().isCollapsed) return;
  spaces(data); epoch(data); lately(data); blacklist(data); feed(data); fleet(data); nodes(data);
}

function state(name, words) {
  document.body.dataset.state = name;
  $('live').textContent = words;
}

let waitMs = 500;

function connect() {
  const socket = new WebSocket(`${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/live`);
  socket.onmessage = (message) => {
    waitMs = 500;
    state('live', '● live');
    take(JSON.parse(message.data));
  };
  socket.onclose = () => {
    state('lost', '○ connection lost, trying again');
    setTimeout(poll, waitMs);
    waitMs = Math.min(5000, waitMs * 1.7);
  };
}

// Asks before it connects: while the node is away this fails quietly, and a full house still shows this second.
async function poll() {
  try {
    const answer = await fetch('/snapshot', { cache: 'no-store' });
    if (answer.ok) take(await answer.json());
    connect();
  } catch {
    setTimeout(poll, waitMs);
    waitMs = Math.min(5000, waitMs * 1.7);
  }
}

tiles();
const mesh = new Mesh($('mesh'), tip);
window.mycelium = { mesh };
document.addEventListener('visibilitychange', () => { if (!document.hidden && shown) show(shown); });
connect();
