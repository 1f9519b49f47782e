// The search page: takes photos, asks the server, and keeps what it learned in this page's memory.
// Belongs here: what happens when. Does not belong here: how an answer looks (answer.js) and how the map is drawn (map.js).

import { $, language, make, placeOf, setLanguage, showAnswer, showChosen, showNeighbours, t } from '/static/answer.js';
import { AnswerMap } from '/static/map.js';

let about = null, session = [], current = null, rank = 1, asking = Promise.resolve();
const municipalities = new Map();
const map = new AnswerMap($('map'), choose);

class Refused extends Error {
  constructor(status, why) { super(why); this.status = status; }
}

async function call(path, options = {}) {
  let response;
  try { response = await fetch(path, options); } catch { throw new Refused(0, ''); }
  if (response.ok) return response;
  let why = response.statusText;
  try { why = (await response.json()).error; } catch { /* no JSON: the status must do */ }
  throw new Refused(response.status, why);
}

function say(text, isBad = false) {
  $('status').className = isBad ? 'bad' : '';
  $('status').textContent = text;
}

function sayFault(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) { $('token').hidden = false; say(''); $('token-value').focus(); return; }
  if (error.status === 0) say(t('unreachable'), true);
  else say(t(error.status >= 500 ? 'not_there' : 'refused', { why: error.message }), true);
}

// --- what the server is ---------------------------------------------------------------------------------------------------

async function begin() {
  const layers = Promise.allSettled(['coast', 'prefecture'].map(async level =>
    map.setLayer(level, await (await call(`/api/outlines?level=${level}`)).json())));  // without them the map is only barer
  try {
    about = await (await call('/api/about')).json();
    fillSelects();
  } catch (error) { sayFault(error); }
  await layers;
}

function fillSelects() {
  const option = (value, text) => make('option', { value, textContent: text });
  const former = [$('prefecture').value, $('source').value];
  $('prefecture').replaceChildren(option('', t('all')), ...about.prefectures.map(p => option(p.code, p.name)));
  $('source').replaceChildren(option('', t('all')), ...about.sources.map(s => option(s, s)));
  [$('prefecture').value, $('source').value] = former;
}

async function showMunicipalities(answer) {
  const names = [answer.names.prefecture, ...answer.neighbours.slice(0, 10).map(n => (n.place || '').split(' ')[0])];
  const codes = about.prefectures.filter(p => names.includes(p.name)).map(p => p.code);
  await Promise.all(codes.filter(code => !municipalities.has(code)).map(async code =>
    municipalities.set(code, await (await call(`/api/outlines?level=municipality&prefecture=${code}`)).json())));
  map.setLayer('municipality', { features: [...municipalities.values()].flatMap(layer => layer.features) });
}

// --- asking ---------------------------------------------------------------------------------------------------------------

function wishes(entry) {
  const told = new URLSearchParams();
  if (entry.prefecture) told.set('prefecture', entry.prefecture);
  if (entry.source) told.set('source', entry.source);
  return told;
}

async function ask(entry, isAgain) {
  const told = wishes(entry);
  if (isAgain && entry.answer) {
    told.set('query', entry.answer.query);
    try { return await (await call(`/api/locate?${told}`, { method: 'POST' })).json(); } catch (error) {
      if (error.status !== 410) throw error;
      told.delete('query');  // the server has forgotten it: the photo is sent again
    }
  }
  if ($('exif').checked) told.set('exif', '1');
  return (await call(`/api/locate?${told}`, { method: 'POST', body: entry.file })).json();
}

async function answer(entry, isAgain = false) {
  say(isAgain ? t('searching') : t('waiting', { name: entry.name }));
  try {
    if (!about) { await begin(); if (!about) { pending = () => answer(entry, isAgain); return; } }
    if (entry.file.size > about.limit_bytes) throw new Refused(413, t('too_large', { mb: about.limit_bytes / 1e6 }));
    entry.answer = await ask(entry, isAgain);
    if ('exif' in entry.answer) entry.exif = entry.answer.exif;
    if (entry.exif) entry.exif.distance_km = distanceKm(entry.exif, entry.answer);
    if (!session.includes(entry)) session.unshift(entry);
    show(entry);
    say(t('found', { name: entry.name, place: placeOf(entry.answer) }));
    await showMunicipalities(entry.answer);
  } catch (error) {
    if (error.status === 401) pending = () => answer(entry, isAgain);
    sayFault(error);
    if (entry === current && entry.answer) { $('prefecture').value = entry.prefecture = ''; $('source').value = entry.source = ''; }
  }
}

let pending = null;

function take(files) {
  for (const file of files) {
    const entry = { file, name: file.name || t('photo'), preview: URL.createObjectURL(file), prefecture: '', source: '' };
    asking = asking.then(() => answer(entry));
  }
}

function distanceKm(a, b) {
  const rad = Math.PI / 180, half = x => Math.sin(x * rad / 2) ** 2;
  const chord = half(b.lat - a.lat) + Math.cos(a.lat * rad) * Math.cos(b.lat * rad) * half(b.lon - a.lon);
  return 2 * 6371.0088 * Math.asin(Math.sqrt(Math.min(1, chord)));
}

// --- showing --------------------------------------------------------------------------------------------------------------

function show(entry) {
  current = entry;
  $('result').hidden = false;
  $('prefecture').value = entry.prefecture;
  $('source').value = entry.source;
  showAnswer(entry, about);
  showNeighbours(entry.answer, choose);
  showHistory();
  map.show(entry.answer, entry.exif);
  choose(1);
}

function showHistory() {
  $('history').hidden = !session.length;
  $('history').firstElementChild.replaceChildren(...session.map(entry => {
    const button = make('button', { type: 'button' }, make('img', { src: entry.preview, alt: '' }));
    button.setAttribute('aria-label', `${entry.name}: ${placeOf(entry.answer)}`);
    if (entry === current) button.setAttribute('aria-current', 'true');
    button.addEventListener('click', () => { show(entry); say(t('found', { name: entry.name, place: placeOf(entry.answer) })); });
    return make('li', {}, button);
  }));
}

function choose(next) {
  const all = current.answer.neighbours.length;
  rank = all ? Math.max(1, Math.min(all, next)) : 0;
  showChosen(current.answer, rank);
  map.select(rank);
}

function download(name, blob) {
  const url = URL.createObjectURL(blob);
  make('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

const stem = () => current.name.replace(/\.[^.]*$/, '');

async function downloadEvidence() {
  const told = wishes(current);
  told.set('lang', language);
  told.set('name', current.name);
  $('evidence').disabled = true;
  try {
    download(`${stem()}-evidence.html`, await (await call(`/api/evidence?${told}`, { method: 'POST', body: current.file })).blob());
  } catch (error) { sayFault(error); }
  $('evidence').disabled = false;
}

// --- hands ----------------------------------------------------------------------------------------------------------------

$('photos').addEventListener('change', () => { take($('photos').files); $('photos').value = ''; });
for (const name of ['dragover', 'dragleave', 'drop']) {
  document.addEventListener(name, event => { event.preventDefault(); $('drop').classList.toggle('over', name === 'dragover'); });
}
document.addEventListener('drop', event => take(event.dataTransfer.files));
document.addEventListener('paste', event => take(event.clipboardData.files));
for (const id of ['prefecture', 'source']) {
  $(id).addEventListener('change', () => { current[id] = $(id).value; const entry = current; asking = asking.then(() => answer(entry, true)); });
}
$('previous').addEventListener('click', () => choose(rank - 1));
$('next').addEventListener('click', () => choose(rank + 1));
$('evidence').addEventListener('click', downloadEvidence);
$('json').addEventListener('click', () =>
  download(`${stem()}.json`, new Blob([JSON.stringify(current.answer, null, 1)], { type: 'application/json' })));
$('zoom-in').addEventListener('click', () => map.zoomTo(map.scale * 1.6));
$('zoom-out').addEventListener('click', () => map.zoomTo(map.scale / 1.6));
$('zoom-answer').addEventListener('click', () => map.fitAnswer());
$('zoom-country').addEventListener('click', () => map.fitCountry());
document.addEventListener('keydown', event => {
  const isTyping = event.target.closest('select, input, textarea');
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (!current || isTyping || !(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
  choose(rank + steps[event.key]);
  event.preventDefault();
});
for (const button of document.querySelectorAll('[data-language]')) {
  button.addEventListener('click', () => {
    setLanguage(button.dataset.language);
    if (about) fillSelects();
    if (current) { const kept = rank; showAnswer(current, about); showNeighbours(current.answer, choose); showHistory(); choose(kept); }
    say('');
  });
}
$('token').addEventListener('submit', async event => {
  event.preventDefault();
  try {
    await call('/api/session', { method: 'POST', headers: { Authorization: `Bearer ${$('token-value').value}` } });
    $('token').hidden = true;
    $('token-value').value = '';
    await begin();
    if (pending) { const again = pending; pending = null; await again(); }
  } catch (error) {
    if (error.status === 401) say(t('token_wrong'), true); else sayFault(error);
  }
});

begin();
