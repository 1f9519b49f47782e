// How an answer looks on the page, in the language that is chosen.
// Belongs here: putting an answer's values into the page's elements, always as text. Does not belong here: asking for it.

const words = JSON.parse(document.getElementById('words').textContent);
const MANY = 200;
const UNFAMILIAR = Number(document.documentElement.dataset.unfamiliar), FAR_KM = Number(document.documentElement.dataset.farKm);
const TASKS = ['prefecture', 'municipality', 'town', 'road', 'landmark'];
export const $ = id => document.getElementById(id);

export let language = document.documentElement.lang;

export function t(key, values = {}) {
  return words[language][key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

export function setLanguage(next) {
  language = next;
  document.documentElement.lang = next;
  document.title = t('title');
  for (const element of document.querySelectorAll('[data-t]')) element.textContent = t(element.dataset.t);
  for (const element of document.querySelectorAll('[data-t-label]')) element.setAttribute('aria-label', t(element.dataset.tLabel));
  for (const button of document.querySelectorAll('[data-language]')) {
    button.setAttribute('aria-pressed', String(button.dataset.language === next));
  }
}

export function km(value) {
  if (value === null || value === undefined) return '–';
  if (value < 0.9995) return `${Math.round(value * 1000)} m`;
  const digits = value < 99.95 ? 1 : 0;
  return `${value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits })} km`;
}

export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const degrees = place => `${place.lat.toFixed(5)}, ${place.lon.toFixed(5)}`;

export function placeOf(answer) {
  const named = ['prefecture', 'municipality', 'town'].map(level => answer.names[level]).filter(Boolean).join(' ');
  return named || t(answer.is_in_box ? 'no_place' : 'outside');
}

function warningsOf(answer) {
  const told = [];
  if (answer.is_abstained) told.push(t('abstained') + (language === 'en' ? ` ${answer.abstain_text}` : ''));
  if (answer.familiarity !== null && answer.familiarity < UNFAMILIAR) told.push(t('unlike'));
  if (answer.region_90_km !== null && answer.region_90_km > FAR_KM) told.push(t('vague'));
  if (!answer.is_in_box) told.push(t('abroad'));
  else if (answer.is_on_land === false) told.push(t('sea'));
  return told;
}

function confidenceOf(answer) {
  const isKnown = answer.region_50_km !== null && answer.region_90_km !== null;
  const near = answer.neighbours.filter(n => n.distance_km <= 25).length;
  return [
    isKnown ? t('confidence', { small: km(answer.region_50_km), large: km(answer.region_90_km) }) : t('uncalibrated'),
    t('near', { near, all: answer.neighbours.length }),
    answer.familiarity === null ? '' : t('familiarity', { share: (100 * answer.familiarity).toFixed(0) }),
  ].join(language === 'ja' ? '' : ' ');
}

export function showAnswer(entry, about) {
  const { answer } = entry;
  $('place').textContent = placeOf(answer);
  $('place').lang = Object.keys(answer.names).length ? 'ja' : language;
  const link = `https://www.openstreetmap.org/?mlat=${answer.lat.toFixed(5)}&mlon=${answer.lon.toFixed(5)}#map=14/${answer.lat.toFixed(5)}/${answer.lon.toFixed(5)}`;
  $('coordinates').replaceChildren(`${degrees(answer)} · `,
    make('a', { href: link, textContent: t('open_osm'), rel: 'noopener noreferrer external', target: '_blank' }));
  $('warnings').replaceChildren(...warningsOf(answer).map(text => make('p', { className: 'warn', textContent: text })));
  $('radius-50').textContent = km(answer.region_50_km);
  $('radius-90').textContent = km(answer.region_90_km);
  $('confidence').textContent = confidenceOf(answer);
  const { exif } = entry;
  $('exif-check').hidden = exif === undefined;
  $('key-exif').hidden = !exif;
  if (exif !== undefined) {
    $('exif-check').textContent = exif ? t('exif_is', { place: degrees(exif), away: km(exif.distance_km) }) : t('exif_none');
  }
  showHeads(answer.heads);
  const ms = Object.values(answer.timings_ms).reduce((a, b) => a + b, 0).toFixed(0);
  $('made-of').textContent = t('made_of', { model: answer.model_version, collection: about.collection, readout: answer.readout, ms });
  $('mine').src = entry.preview;
  $('mine').alt = t('photo');
  $('mine-name').textContent = entry.name;
}

function showHeads(heads) {
  const shown = TASKS.filter(task => heads[task] && heads[task].length);
  $('heads').hidden = !shown.length;
  $('heads').lastElementChild.replaceChildren(...shown.map(task => make('div', {},
    make('h3', { textContent: t(task) }),
    make('ol', {}, ...heads[task].map(guess => {
      const share = `${(100 * guess.probability).toFixed(1)} %`;
      const meter = make('progress', { max: 1, value: guess.probability });
      meter.setAttribute('aria-label', `${guess.name || guess.code} ${share}`);
      return make('li', {}, make('span', { textContent: guess.name || guess.code, lang: 'ja' }), make('span', { textContent: share }), meter);
    })))));
}

export function pictureUrl(imageId, width) {
  return `/api/pictures/${encodeURIComponent(imageId)}?width=${width}`;
}

export function showNeighbours(answer, onPick) {
  $('neighbours').replaceChildren(...answer.neighbours.slice(0, MANY).map(near => {
    const button = make('button', { type: 'button' },
      make('img', { src: pictureUrl(near.image_id, 240), alt: '', loading: 'lazy' }),
      make('span', {}, make('b', { textContent: near.rank }), ` ${km(near.distance_km)}`, make('small', { textContent: near.score.toFixed(3) })));
    button.setAttribute('aria-label', wordsOf(near));
    button.dataset.rank = near.rank;
    button.addEventListener('click', () => onPick(near.rank));
    return make('li', {}, button);
  }));
}

function wordsOf(near) {
  return t('neighbour_alt', { rank: near.rank, place: near.place, score: near.score.toFixed(3), away: km(near.distance_km) });
}

export function showChosen(answer, rank) {
  const near = answer.neighbours[rank - 1];
  $('step').textContent = near ? t('neighbour', { rank, all: answer.neighbours.length }) : '–';
  $('previous').disabled = rank <= 1;
  $('next').disabled = rank >= answer.neighbours.length;
  for (const button of $('neighbours').querySelectorAll('button')) {
    const isChosen = Number(button.dataset.rank) === rank;
    if (isChosen) button.setAttribute('aria-current', 'true'); else button.removeAttribute('aria-current');
  }
  if (!near) { $('theirs').removeAttribute('src'); $('theirs-about').replaceChildren(); return; }
  $('theirs').src = pictureUrl(near.image_id, 960);
  $('theirs').alt = wordsOf(near);
  const source = near.source_url
    ? make('a', { href: near.source_url, textContent: near.source || t('source'), rel: 'noopener noreferrer external', target: '_blank' })
    : near.source;
  const facts = [near.attribution || t('no_attribution'), near.licence, near.captured_at].filter(Boolean).join(' · ');
  $('theirs-about').replaceChildren(
    make('b', { textContent: near.place || degrees(near), lang: 'ja' }), make('br'),
    `${t('similarity')} ${near.score.toFixed(3)} · ${t('from_answer', { away: km(near.distance_km) })}`, make('br'),
    `${facts} · `, source);
}
