// The picture of the mesh: this node in the middle, the others around it. Draws; knows nothing of the connection.
// What changes once a second is drawn once a second, into a canvas of its own; a frame of the animation is that
// picture and the spores on it.

const TAU = Math.PI * 2;
const LABELS = 40;

export function short(account) {
  return account.length > 12 ? account.slice(0, 4) + '…' + account.slice(-4) : account;
}

export function stateOf(peer) {
  if (peer.blocked) return 'blocked';
  if (peer.state === 'absent') return 'absent';
  if (peer.state === 'silent' || (peer.standing && peer.standing !== 'alive')) return 'silent';
  return Object.values(peer.spaces || {}).every(Boolean) ? 'ok' : 'behind';
}

export class Mesh {
  constructor(canvas, onHover) {
    this.canvas = canvas;
    this.still = document.createElement('canvas');
    this.onHover = onHover;
    this.places = [];
    this.spores = [];
    this.hot = null;
    this.data = null;
    this.frames = 0;
    this.quiet = matchMedia('(prefers-reduced-motion: reduce)');
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => this.restyle());
    new ResizeObserver(() => this.resize()).observe(canvas);
    canvas.addEventListener('pointermove', (event) => this.point(event));
    canvas.addEventListener('pointerdown', (event) => this.point(event));
    canvas.addEventListener('pointerleave', () => this.hover(null));
    this.restyle();
    this.frame = this.frame.bind(this);
    this.last = 0;
    requestAnimationFrame(this.frame);
  }

  restyle() {
    const style = getComputedStyle(document.documentElement);
    this.colour = {};
    for (const name of ['card', 'line', 'ink', 'soft', 'faint', 'ok', 'warn', 'bad', 'violet', 'thread', 'chord', 'spore', 'spore-out', 'halo'])
      this.colour[name] = style.getPropertyValue('--' + name).trim();
    this.resize();
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.width = box.width;
    this.height = box.height;
    for (const canvas of [this.canvas, this.still]) {
      canvas.width = Math.max(1, Math.round(box.width * ratio));
      canvas.height = Math.max(1, Math.round(box.height * ratio));
    }
    this.ratio = ratio;
    this.layout();
    this.draw();
  }

  show(data) {
    this.data = data;
    this.layout();
    const place = this.hot && this.places.find((one) => one.peer.account === this.hot.account);
    this.hot = place ? place.peer : null;
    this.onHover(this.hot, place);
    this.draw();
  }

  layout() {
    if (!this.data || !this.width) return;
    const peers = [...this.data.peers].sort((a, b) => (a.account < b.account ? -1 : 1));
    const count = peers.length;
    const labelled = count <= LABELS;
    const margin = count <= 14 ? [104, 66] : labelled ? [96, 96] : [26, 26];
    const rx = Math.max(60, this.width / 2 - margin[0]);
    const ry = Math.max(60, this.height / 2 - margin[1]);
    const middle = { x: this.width / 2, y: this.height / 2 };
    this.middle = middle;
    this.radius = count > 40 ? 6.5 : count > 14 ? 8.5 : 12;
    this.places = peers.map((peer, at) => {
      // Two rings where one would be crowded. Never quite straight up: a line of labels reads better aslant.
      const ring = count > 44 && at % 2 ? 0.7 : 1;
      const angle = -Math.PI / 2 + ((at + 0.5) / count) * TAU;
      const x = middle.x + Math.cos(angle) * rx * ring;
      const y = middle.y + Math.sin(angle) * ry * ring;
      // A thread is never straight. Its bend belongs to the account, so that it stays where it is.
      const bend = ((peer.account.charCodeAt(5) * 31 + peer.account.charCodeAt(9) * 17) % 100) / 100 - 0.5;
      const dx = x - middle.x, dy = y - middle.y;
      const control = { x: middle.x + dx * 0.5 - dy * bend * 0.42, y: middle.y + dy * 0.5 + dx * bend * 0.42 };
      return { peer, angle, x, y, control, state: stateOf(peer) };
    });
  }

  draw() {
    const g = this.still.getContext('2d');
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    g.clearRect(0, 0, this.width, this.height);
    if (!this.data || !this.middle) return;
    this.ground(g);
    this.chords(g);
    for (const place of this.places) this.thread(g, place);
    for (const place of this.places) this.node(g, place);
    this.self(g);
  }

  ground(g) {
    const { x, y } = this.middle;
    const glow = g.createRadialGradient(x, y, 0, x, y, Math.min(this.width, this.height) * 0.62);
    glow.addColorStop(0, this.colour.halo);
    glow.addColorStop(1, this.colour.halo.slice(0, 7) + '00'); // not `transparent`, which is black
    g.fillStyle = glow;
    g.fillRect(0, 0, this.width, this.height);
  }

  // Between others: certain only where both say that they have a session with everybody.
  chords(g) {
    const all = this.places.length;
    const full = this.places.filter((p) => p.peer.says && p.peer.says.peer_count >= all && p.state !== 'absent' && p.state !== 'blocked');
    if (full.length < 2) return;
    g.strokeStyle = this.colour.chord;
    g.globalAlpha = Math.max(0.035, Math.min(0.3, 2.2 / full.length));
    g.lineWidth = 1;
    g.beginPath();
    for (let a = 0; a < full.length; a++)
      for (let b = a + 1; b < full.length; b++) {
        const p = full[a], q = full[b];
        const cx = (p.x + q.x) / 2 * 0.72 + this.middle.x * 0.28, cy = (p.y + q.y) / 2 * 0.72 + this.middle.y * 0.28;
        g.moveTo(p.x, p.y);
        g.quadraticCurveTo(cx, cy, q.x, q.y);
      }
    g.stroke();
    g.globalAlpha = 1;
  }

  thread(g, place) {
    if (place.state === 'absent' || place.state === 'blocked') return;
    const colour = { ok: this.colour.thread, behind: this.colour.warn, silent: this.colour.faint }[place.state];
    const hot = this.hot && this.hot.account === place.peer.account;
    g.setLineDash({ ok: [], behind: [9, 5], silent: [2, 6] }[place.state]);
    const path = new Path2D();
    path.moveTo(this.middle.x, this.middle.y);
    path.quadraticCurveTo(place.control.x, place.control.y, place.x, place.y);
    g.strokeStyle = colour;
    g.lineCap = 'round';
    const lag = Math.log10(1 + (place.peer.lag_changes || 0));
    g.globalAlpha = hot ? 0.45 : 0.16;
    g.lineWidth = (this.places.length > 30 ? 3 : 6) + lag * 1.5;
    if (place.state === 'ok') g.stroke(path);
    g.globalAlpha = hot ? 1 : place.state === 'silent' ? 0.8 : 0.85;
    g.lineWidth = hot ? 2.6 : 1.5;
    g.stroke(path);
    g.globalAlpha = 1;
    g.setLineDash([]);
  }

  shape(g, x, y, r, role) {
    g.beginPath();
    if (role === 'owner') { // a diamond
      g.moveTo(x, y - r * 1.25); g.lineTo(x + r * 1.25, y); g.lineTo(x, y + r * 1.25); g.lineTo(x - r * 1.25, y); g.closePath();
    } else if (role === 'observer') { // a hexagon
      for (let at = 0; at < 6; at++) g.lineTo(x + Math.cos(at * TAU / 6) * r * 1.1, y + Math.sin(at * TAU / 6) * r * 1.1);
      g.closePath();
    } else g.arc(x, y, r, 0, TAU);
  }

  node(g, place) {
    const { peer, x, y, state } = place;
    const r = this.radius, c = this.colour;
    const hot = this.hot && this.hot.account === peer.account;
    const colour = { ok: c.ok, behind: c.warn, silent: c.faint, absent: c.faint, blocked: c.bad }[state];
    // How much of the mesh the node itself says that it has: an arc around it.
    if (peer.says && state !== 'absent' && state !== 'blocked' && this.places.length > 1) {
      const share = Math.min(1, peer.says.peer_count / this.places.length);
      g.lineWidth = 2;
      g.strokeStyle = colour;
      g.globalAlpha = 0.45;
      g.beginPath();
      g.arc(x, y, r * 1.62, -Math.PI / 2, -Math.PI / 2 + TAU * share);
      g.stroke();
      g.globalAlpha = 1;
    }
    g.fillStyle = c.card;
    g.strokeStyle = colour;
    g.lineWidth = 2;
    this.shape(g, x, y, r, peer.role);
    g.fill();
    if (state === 'ok') { g.fillStyle = colour; g.fill(); }
    if (state === 'silent') g.setLineDash([3, 3]);
    g.stroke();
    g.setLineDash([]);
    if (state === 'behind') {
      g.save(); this.shape(g, x, y, r, peer.role); g.clip();
      g.fillStyle = colour; g.fillRect(x, y - 2 * r, 2 * r, 4 * r); g.restore();
    }
    g.lineCap = 'round';
    if (state === 'absent' || state === 'blocked') {
      const d = r * 0.42;
      g.beginPath();
      g.moveTo(x - d, y + d); g.lineTo(x + d, y - d);
      if (state === 'absent') { g.moveTo(x - d, y - d); g.lineTo(x + d, y + d); }
      g.stroke();
    }
    if (state === 'ok' && r > 8) { // a tick, for whom colours are alike
      g.strokeStyle = c.card;
      g.lineWidth = r > 10 ? 2 : 1.6;
      g.beginPath();
      g.moveTo(x - r * 0.4, y + r * 0.02); g.lineTo(x - r * 0.1, y + r * 0.34); g.lineTo(x + r * 0.44, y - r * 0.32);
      g.stroke();
    }
    if (hot) {
      g.strokeStyle = c.ink; g.lineWidth = 1.5;
      g.beginPath(); g.arc(x, y, r * 2.1, 0, TAU); g.stroke();
    }
    this.label(g, place, hot);
  }

  label(g, place, hot) {
    const { peer, angle, x, y } = place;
    const count = this.places.length;
    if (count > LABELS && !hot) return;
    const c = this.colour;
    g.font = `${count > 14 ? 11 : 12.5}px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace`;
    const out = this.radius * 1.62 + 8;
    const right = Math.cos(angle) >= 0;
    g.save();
    g.translate(x, y);
    if (count > 14 && count <= LABELS) { // along the ray, so that neighbours do not overlap
      g.rotate(right ? angle : angle + Math.PI);
      g.textAlign = right ? 'left' : 'right';
      g.textBaseline = 'middle';
      g.fillStyle = hot ? c.ink : c.soft;
      g.fillText(short(peer.account), right ? out : -out, 0);
    } else if (count <= 14) {
      const flat = Math.abs(Math.cos(angle)) < 0.38;
      g.textAlign = flat ? 'center' : right ? 'left' : 'right';
      const px = flat ? 0 : right ? out : -out;
      const py = flat ? (Math.sin(angle) < 0 ? -out - 16 : out + 10) : -2;
      g.textBaseline = flat ? 'alphabetic' : 'alphabetic';
      g.fillStyle = c.ink;
      g.fillText(short(peer.account), px, py);
      g.fillStyle = c.soft;
      g.font = '11.5px system-ui, sans-serif';
      g.fillText(this.under(peer, place.state), px, py + 14);
    }
    g.restore();
  }

  under(peer, state) {
    if (state === 'blocked') return 'blacklisted';
    if (state === 'absent') return 'not connected';
    if (state === 'silent') return `silent ${Math.round(peer.heard_s)} s`;
    const trip = peer.rtt_ms == null ? '' : peer.rtt_ms < 10 ? peer.rtt_ms.toFixed(1) + ' ms' : Math.round(peer.rtt_ms) + ' ms';
    return peer.lag_changes > 0 ? `${trip} · lag ${peer.lag_changes}` : trip;
  }

  self(g) {
    const { x, y } = this.middle, c = this.colour;
    const r = this.radius + 8;
    const glow = g.createRadialGradient(x, y, r * 0.4, x, y, r * 2.6);
    glow.addColorStop(0, c.halo); glow.addColorStop(1, c.halo.slice(0, 7) + '00');
    g.fillStyle = glow;
    g.beginPath(); g.arc(x, y, r * 2.6, 0, TAU); g.fill();
    g.fillStyle = c.card; g.strokeStyle = c.violet; g.lineWidth = 2.4;
    g.beginPath(); g.arc(x, y, r, 0, TAU); g.fill(); g.stroke();
    g.fillStyle = c.violet;
    this.shape(g, x, y, r * 0.55, this.data.role); g.fill();
    g.font = '600 12px system-ui, sans-serif';
    g.textAlign = 'center'; g.textBaseline = 'top';
    const width = g.measureText('this node').width + 14;
    g.globalAlpha = 0.85; g.fillStyle = c.card;
    g.beginPath(); g.roundRect(x - width / 2, y + r + 5, width, 19, 9); g.fill(); g.globalAlpha = 1;
    g.fillStyle = c.ink;
    g.fillText('this node', x, y + r + 8);
  }

  // --- what moves -------------------------------------------------------------------------------------------

  // Spores run along the threads as data does: their number follows the rate's logarithm, so that an idle node is calm
  // and a busy one is not a blizzard.
  spawn(passed) {
    if (!this.data || this.spores.length > 240) return;
    const rates = this.data.rates || {};
    const alive = this.places.filter((place) => place.state === 'ok' || place.state === 'behind');
    if (!alive.length) return;
    for (const [inward, changes, bytes] of [[true, rates.received, rates.in_bytes], [false, rates.written, rates.out_bytes]]) {
      const rate = 0.35 * Math.log2(1 + (bytes || 0) / 2048) + 1.6 * Math.log2(1 + (changes || 0));
      let expected = Math.min(24, rate) * passed;
      while (expected > 0) {
        if (Math.random() < expected)
          this.spores.push({ place: alive[Math.floor(Math.random() * alive.length)], at: 0, inward, speed: 0.55 + Math.random() * 0.45, size: 1.3 + Math.random() * 1.3 });
        expected -= 1;
      }
    }
  }

  frame(now) {
    requestAnimationFrame(this.frame);
    const passed = Math.min(0.1, (now - this.last) / 1000);
    this.last = now;
    this.frames += 1;
    if (!this.width || document.hidden) return;
    const g = this.canvas.getContext('2d');
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.clearRect(0, 0, this.canvas.width, this.canvas.height);
    g.drawImage(this.still, 0, 0);
    if (this.quiet.matches || !this.middle) return;
    this.spawn(passed);
    g.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    for (const spore of this.spores) {
      spore.at += passed * spore.speed;
      const t = spore.inward ? 1 - spore.at : spore.at, u = 1 - t;
      const { x, y, control } = spore.place, m = this.middle;
      const px = u * u * m.x + 2 * u * t * control.x + t * t * x;
      const py = u * u * m.y + 2 * u * t * control.y + t * t * y;
      g.globalAlpha = Math.max(0, Math.sin(Math.PI * Math.min(1, spore.at)));
      g.fillStyle = spore.inward ? this.colour.spore : this.colour['spore-out'];
      g.beginPath();
      g.arc(px, py, spore.size, 0, TAU);
      g.fill();
    }
    g.globalAlpha = 1;
    this.spores = this.spores.filter((spore) => spore.at < 1);
  }

  // --- pointing ---------------------------------------------------------------------------------------------

  point(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = event.clientX - box.left, y = event.clientY - box.top;
    let best = null, near = 26 * 26;
    for (const place of this.places) {
      const far = (place.x - x) ** 2 + (place.y - y) ** 2;
      if (far < near) { near = far; best = place; }
    }
    this.hover(best && best.peer, best);
  }

  hover(peer, place = null) {
    if ((this.hot && this.hot.account) !== (peer && peer.account)) {
      this.hot = peer;
      this.draw();
    }
    this.onHover(peer, place || (peer && this.places.find((one) => one.peer.account === peer.account)));
  }
}
