// The map of the search page: a canvas in Web Mercator that is dragged, zoomed and stepped through; nothing is fetched here.
// Belongs here: what is drawn where, and how hands move it. Does not belong here: where outlines and answers come from.

const STOPS = [0, 0.08, 0.3, 0.6, 1];
const COLOURS = [[255, 214, 102, 0], [255, 208, 96, 70], [249, 160, 70, 135], [222, 88, 52, 165], [160, 36, 44, 185]];
const EARTH_KM_PER_DEG = 111.195;
const HEAT_CELL_PX = 4, HEAT_SIGMA_PX = 17;
const CLOSEST_PX_PER_DEG = 400000, FARTHEST_PX_PER_DEG = 6;
const JAPAN = { west: 127.3, east: 146, south: 26, north: 45.7 };

const northing = lat => {
  const clipped = Math.max(-85, Math.min(85, lat)) * Math.PI / 180;
  return Math.asinh(Math.tan(clipped)) * 180 / Math.PI;
};
const latitude = north => Math.atan(Math.sinh(north * Math.PI / 180)) * 180 / Math.PI;

function pathOf(geometry) {
  const path = new Path2D();
  for (const polygon of geometry.coordinates) {
    for (const ring of polygon) {
      ring.forEach(([lon, lat], i) => (i ? path.lineTo(lon, northing(lat)) : path.moveTo(lon, northing(lat))));
      path.closePath();
    }
  }
  return path;
}

function boxOf(geometry) {
  let west = 180, east = -180, south = 90, north = -90, largest = null, most = 0;
  for (const polygon of geometry.coordinates) {
    const box = { west: 180, east: -180, south: 90, north: -90 };
    for (const [lon, lat] of polygon[0]) {
      box.west = Math.min(box.west, lon); box.east = Math.max(box.east, lon);
      box.south = Math.min(box.south, lat); box.north = Math.max(box.north, lat);
    }
    const size = (box.east - box.west) * (box.north - box.south);
    if (size >= most) { most = size; largest = box; }
    west = Math.min(west, box.west); east = Math.max(east, box.east);
    south = Math.min(south, box.south); north = Math.max(north, box.north);
  }
  return { west, east, south, north, largest };
}

export class AnswerMap {
  constructor(canvas, onPick) {
    this.canvas = canvas;
    this.onPick = onPick;
    this.layers = { coast: [], prefecture: [], municipality: [] };
    this.answer = null;
    this.selected = 0;
    this.exif = null;
    this.pointers = new Map();
    this.centre = { lon: (JAPAN.west + JAPAN.east) / 2, north: (northing(JAPAN.south) + northing(JAPAN.north)) / 2 };
    this.scale = 20;
    this.heat = document.createElement('canvas');
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  setLayer(level, geojson) {
    this.layers[level] = geojson.features.map(f => ({ name: f.properties.name, path: pathOf(f.geometry), box: boxOf(f.geometry) }));
    this.draw();
  }

  show(answer, exif) {
    this.answer = answer;
    this.exif = exif || null;
    this.selected = 0;
    if (this.width) this.fitAnswer(); else this.resize();
  }

  select(rank) {
    this.selected = rank;
    const near = this.answer && this.answer.neighbours[rank - 1];
    if (near && this.width) {
      const [x, y] = this.xy(near.lat, near.lon);
      if (x < 12 || y < 12 || x > this.width - 12 || y > this.height - 12) {
        this.fit([near, this.answer]);
        return;
      }
    }
    this.draw();
  }

  // --- where things are -----------------------------------------------------------------------------------------------

  xy(lat, lon) {
    return [this.width / 2 + (lon - this.centre.lon) * this.scale, this.height / 2 - (northing(lat) - this.centre.north) * this.scale];
  }

  pxPerKm() {
    return this.scale / (EARTH_KM_PER_DEG * Math.cos(latitude(this.centre.north) * Math.PI / 180));
  }

  fit(places, radiusKm = 0) {
    if (!this.width) return;  // not laid out yet: the first layout fits the answer
    const pad = radiusKm / EARTH_KM_PER_DEG;
    const lons = places.flatMap(p => [p.lon - pad * 1.25, p.lon + pad * 1.25]);
    const norths = places.flatMap(p => [northing(p.lat - pad), northing(p.lat + pad)]);
    const west = Math.min(...lons), east = Math.max(...lons), south = Math.min(...norths), north = Math.max(...norths);
    this.centre = { lon: (west + east) / 2, north: (south + north) / 2 };
    const scale = Math.min(this.width * 0.86 / Math.max(east - west, 0.01), this.height * 0.86 / Math.max(north - south, 0.01));
    this.zoomTo(scale);
  }

  fitCountry() {
    this.fit([{ lat: JAPAN.south, lon: JAPAN.west }, { lat: JAPAN.north, lon: JAPAN.east }]);
  }

  fitAnswer() {
    if (!this.answer) { this.fitCountry(); return; }
    const distances = this.answer.neighbours.map(n => n.distance_km).sort((a, b) => a - b);
    const middle = distances.length ? distances[Math.floor(distances.length / 2)] : 0;
    const radius = Math.max(1, Math.min(150, 1.3 * middle), Math.min(150, 1.3 * (this.answer.region_50_km || 0)));
    this.fit([this.answer], radius);
  }

  zoomTo(scale, x = this.width / 2, y = this.height / 2) {
    const next = Math.max(FARTHEST_PX_PER_DEG, Math.min(CLOSEST_PX_PER_DEG, scale));
    const dx = (x - this.width / 2), dy = (y - this.height / 2);
    this.centre.lon += dx / this.scale - dx / next;
    this.centre.north -= dy / this.scale - dy / next;
    this.scale = next;
    this.draw();
  }

  moveBy(dx, dy) {
    this.centre.lon = Math.max(-180, Math.min(180, this.centre.lon - dx / this.scale));
    this.centre.north = Math.max(-170, Math.min(170, this.centre.north + dy / this.scale));
    this.draw();
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    if (!box.width || !box.height) return;
    const ratio = window.devicePixelRatio || 1;
    const isFirst = !this.width;
    this.width = box.width; this.height = box.height;
    this.canvas.width = Math.round(box.width * ratio);
    this.canvas.height = Math.round(box.height * ratio);
    if (isFirst) this.fitAnswer(); else this.draw();
  }

  // --- hands ----------------------------------------------------------------------------------------------------------

  listen() {
    const canvas = this.canvas;
    const place = event => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    canvas.addEventListener('wheel', event => {
      event.preventDefault();
      const [x, y] = place(event);
      this.zoomTo(this.scale * Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), x, y);
    }, { passive: false });
    canvas.addEventListener('pointerdown', event => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, place(event));
      this.moved = 0;
    });
    canvas.addEventListener('pointermove', event => {
      const [x, y] = place(event);
      const former = this.pointers.get(event.pointerId);
      if (!former) { canvas.style.cursor = this.nearest(x, y) ? 'pointer' : 'grab'; return; }
      if (this.pointers.size === 1) this.moveBy(x - former[0], y - former[1]);
      if (this.pointers.size === 2) {
        const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
        const before = Math.hypot(former[0] - other[0], former[1] - other[1]), after = Math.hypot(x - other[0], y - other[1]);
        if (before > 0) this.zoomTo(this.scale * after / before, (x + other[0]) / 2, (y + other[1]) / 2);
      }
      this.moved += Math.abs(x - former[0]) + Math.abs(y - former[1]);
      this.pointers.set(event.pointerId, [x, y]);
    });
    const up = event => {
      const at = this.pointers.get(event.pointerId);
      this.pointers.delete(event.pointerId);
      if (event.type === 'pointerup' && at && this.moved < 6) {
        const rank = this.nearest(...at);
        if (rank) this.onPick(rank);
      }
    };
    canvas.addEventListener('pointerup', up);
    canvas.addEventListener('pointercancel', up);
    canvas.addEventListener('dblclick', event => this.zoomTo(this.scale * 2, ...place(event)));
    canvas.addEventListener('keydown', event => {
      const step = 60;
      const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
      if (moves[event.key]) this.moveBy(...moves[event.key]);
      else if (event.key === '+' || event.key === '=') this.zoomTo(this.scale * 1.6);
      else if (event.key === '-') this.zoomTo(this.scale / 1.6);
      else if (event.key === '0') this.fitAnswer();
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
  }

  nearest(x, y) {
    let best = 12, found = 0;
    for (const near of this.answer ? this.answer.neighbours : []) {
      const [nx, ny] = this.xy(near.lat, near.lon);
      const away = Math.hypot(nx - x, ny - y);
      if (away < best) { best = away; found = near.rank; }
    }
    return found;
  }

  // --- drawing --------------------------------------------------------------------------------------------------------

  draw() {
    if (this.pending || !this.width) return;
    this.pending = requestAnimationFrame(() => { this.pending = 0; this.paint(); });
  }

  paint() {
    const ctx = this.canvas.getContext('2d'), ratio = window.devicePixelRatio || 1;
    ctx.setTransform(ratio, 0, 0, ratio, 0, 0);
    ctx.fillStyle = '#eaf0f3';
    ctx.fillRect(0, 0, this.width, this.height);
    const isWide = this.width / this.pxPerKm() > 120;
    if (isWide) this.areas(ctx, this.layers.coast, '#c3cbd2', 1);
    this.areas(ctx, this.layers.prefecture, '#8f99a3', 1.2);
    const isClose = this.width / this.pxPerKm() < 420;
    if (isClose) this.areas(ctx, this.layers.municipality, '#b9c1c9', 0.8);
    if (this.answer) this.paintAnswer(ctx);
    this.names(ctx, isClose && this.layers.municipality.length ? this.layers.municipality : this.layers.prefecture);
    this.bar(ctx);
  }

  areas(ctx, areas, colour, width) {
    ctx.save();
    const k = this.scale;
    ctx.transform(k, 0, 0, -k, this.width / 2 - this.centre.lon * k, this.height / 2 + this.centre.north * k);
    ctx.lineWidth = width / k;
    ctx.lineJoin = 'round';
    ctx.strokeStyle = colour;
    ctx.fillStyle = '#fdfdfb';
    for (const area of areas) {
      if (this.sees(area.box)) { ctx.fill(area.path, 'evenodd'); ctx.stroke(area.path); }
    }
    ctx.restore();
  }

  sees(box) {
    const [left, bottom] = this.xy(box.south, box.west), [right, top] = this.xy(box.north, box.east);
    return right > 0 && left < this.width && bottom > 0 && top < this.height;
  }

  paintAnswer(ctx) {
    const { answer } = this;
    this.paintHeat(ctx, answer.neighbours);
    const [x, y] = this.xy(answer.lat, answer.lon);
    const kmToPx = this.scale / (EARTH_KM_PER_DEG * Math.cos(answer.lat * Math.PI / 180));
    for (const [radius, dash] of [[answer.region_90_km, [7, 5]], [answer.region_50_km, []]]) {
      if (!radius || radius * kmToPx < 4 || radius * kmToPx > 20000) continue;
      for (const [colour, width, dashes] of [['#ffffffcc', 4.5, []], ['#146c86', 2, dash]]) {
        ctx.beginPath();
        ctx.arc(x, y, radius * kmToPx, 0, 2 * Math.PI);
        ctx.setLineDash(dashes);
        ctx.strokeStyle = colour;
        ctx.lineWidth = width;
        ctx.stroke();
      }
    }
    ctx.setLineDash([]);
    for (const near of [...answer.neighbours].reverse()) this.dot(ctx, near, near.rank <= 10 ? 5 : 3.6, '#1c2330b0', 1);
    const chosen = answer.neighbours[this.selected - 1];
    if (chosen) this.dot(ctx, chosen, 8.5, '#0b74c4', 2.5);
    if (this.exif) {
      const [ex, ey] = this.xy(this.exif.lat, this.exif.lon);
      ctx.beginPath();
      ctx.moveTo(ex, ey - 9); ctx.lineTo(ex + 8, ey); ctx.lineTo(ex, ey + 9); ctx.lineTo(ex - 8, ey);
      ctx.closePath();
      ctx.fillStyle = '#1a7f5a'; ctx.strokeStyle = '#fff'; ctx.lineWidth = 1.6;
      ctx.fill(); ctx.stroke();
    }
    for (const [colour, width] of [['#fff', 6], ['#b3402e', 2.6]]) {
      ctx.beginPath();
      ctx.moveTo(x - 12, y); ctx.lineTo(x + 12, y); ctx.moveTo(x, y - 12); ctx.lineTo(x, y + 12);
      ctx.moveTo(x + 6, y); ctx.arc(x, y, 6, 0, 2 * Math.PI);
      ctx.strokeStyle = colour;
      ctx.lineWidth = width;
      ctx.stroke();
    }
  }

  dot(ctx, near, radius, colour, edge) {
    const [x, y] = this.xy(near.lat, near.lon);
    ctx.beginPath();
    ctx.arc(x, y, radius, 0, 2 * Math.PI);
    ctx.fillStyle = colour;
    ctx.fill();
    ctx.strokeStyle = '#fff';
    ctx.lineWidth = edge;
    ctx.stroke();
  }

  paintHeat(ctx, neighbours) {
    const columns = Math.ceil(this.width / HEAT_CELL_PX), rows = Math.ceil(this.height / HEAT_CELL_PX);
    const grid = new Float32Array(columns * rows), sigma = HEAT_SIGMA_PX / HEAT_CELL_PX, reach = Math.ceil(3 * sigma);
    for (const near of neighbours) {
      const [px, py] = this.xy(near.lat, near.lon);
      const cx = px / HEAT_CELL_PX, cy = py / HEAT_CELL_PX;
      for (let row = Math.max(0, Math.floor(cy) - reach); row <= Math.min(rows - 1, cy + reach); row++) {
        for (let column = Math.max(0, Math.floor(cx) - reach); column <= Math.min(columns - 1, cx + reach); column++) {
          grid[row * columns + column] += Math.exp(-((column - cx) ** 2 + (row - cy) ** 2) / (2 * sigma * sigma));
        }
      }
    }
    const peak = grid.reduce((a, b) => Math.max(a, b), 0);
    if (!peak) return;
    const image = new ImageData(columns, rows);
    grid.forEach((value, i) => {
      const share = value / peak, stop = Math.max(1, STOPS.findIndex(s => share <= s));
      const part = (share - STOPS[stop - 1]) / (STOPS[stop] - STOPS[stop - 1]);
      for (let c = 0; c < 4; c++) image.data[4 * i + c] = COLOURS[stop - 1][c] + part * (COLOURS[stop][c] - COLOURS[stop - 1][c]);
    });
    this.heat.width = columns; this.heat.height = rows;
    this.heat.getContext('2d').putImageData(image, 0, 0);
    ctx.drawImage(this.heat, 0, 0, columns * HEAT_CELL_PX, rows * HEAT_CELL_PX);
  }

  names(ctx, areas) {
    ctx.font = '12px system-ui, "Noto Sans CJK JP", sans-serif';
    ctx.textAlign = 'center';
    ctx.lineWidth = 3;
    ctx.lineJoin = 'round';
    const taken = [];
    for (const { name, box } of areas) {
      if (!name || !this.sees(box)) continue;
      const middle = box.largest || box;
      const [x, y] = this.xy((middle.south + middle.north) / 2, (middle.west + middle.east) / 2);
      const half = ctx.measureText(name).width / 2 + 3;
      const isInside = x > half && x < this.width - half && y > 14 && y < this.height - 26;
      if (!isInside || taken.some(t => Math.abs(t.y - y) < 16 && Math.abs(t.x - x) < t.half + half)) continue;
      taken.push({ x, y, half });
      ctx.strokeStyle = '#ffffffd0';
      ctx.strokeText(name, x, y);
      ctx.fillStyle = '#3d4653';
      ctx.fillText(name, x, y);
    }
  }

  bar(ctx) {
    const longest = 120 / this.pxPerKm(), power = 10 ** Math.floor(Math.log10(longest));
    const length = [5, 2, 1].map(step => step * power).find(km => km <= longest);
    const px = length * this.pxPerKm(), y = this.height - 12;
    ctx.fillStyle = '#1c2330';
    ctx.fillRect(12, y, px, 2);
    ctx.textAlign = 'left';
    ctx.strokeStyle = '#fff';
    const words = length >= 1 ? `${length.toLocaleString('en')} km` : `${Math.round(length * 1000)} m`;
    ctx.strokeText(words, 12, y - 6);
    ctx.fillText(words, 12, y - 6);
  }
}
