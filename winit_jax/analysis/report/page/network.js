// One network: its layers beside theory, and its histograms.
"use strict";

/** The rows of the layers of the network that is chosen, in order, as far as its own depth. */
async function layersOf(sheet, state) {
  const {codes} = await opened(sheet);
  const chosen = chosenWords(state);
  const wanted = {};
  for (const key of sheet.keys)
    if (!["layer", "depth", "bin"].includes(key.name) && key.name in chosen)
      wanted[key.name] = key.words.indexOf(chosen[key.name]);
  if (Object.values(wanted).some((code) => code < 0)) return [];
  const depths = keyOf(sheet, "depth");
  const layers = keyOf(sheet, "layer");
  const depth = "depth" in chosen ? Number(chosen.depth) : Infinity;
  const rows = rowsWith(sheet, wanted);
  // A network of this depth has layers of its own, or it is the beginning of the next deeper one.
  const own = Math.min(...rows.map((row) => depths.numbers[codes.depth[row]]).filter((each) => each >= depth));
  return rows
    .filter((row) => depth === Infinity || depths.numbers[codes.depth[row]] === own)
    .filter((row) => layers.numbers[codes.layer[row]] <= depth)
    .sort((a, b) => codes.layer[a] - codes.layer[b]);
}

/** Key -> the words of the value that is chosen. */
function chosenWords(state) {
  const sheet = report.maps.find((each) => each.name === state.sheet);
  return Object.fromEntries(sheet.keys.map((key) => [key.name, key.words[state.at[key.name]]]));
}

const profileColumns = () => report.profiles.flatMap((sheet) =>
  Object.entries(sheet.columns).map(([name, column]) => ({sheet, name, label: column.label})));

async function drawProfile(state) {
  const chosen = profileColumns().find((each) => each.name === state.profile) ?? profileColumns()[0];
  const rows = await layersOf(chosen.sheet, state);
  const numbers = await columnOf(chosen.sheet, chosen.name);
  const layers = keyOf(chosen.sheet, "layer").numbers;
  const at = rows.map((row) => layers[chosen.sheet.open.codes.layer[row]]);
  const finite = (array) => rows.map((row) => (array && Number.isFinite(array[row]) ? array[row] : NaN));
  models.profileData.data = {layer: at, median: finite(numbers.median), low: finite(numbers.low),
    high: finite(numbers.high), predicted: finite(numbers.predicted)};
  models.profileX.axis_label = "layer";
  models.profileY.axis_label = chosen.label;
  fit(models.profile.x_range, at);
  fit(models.profile.y_range, [numbers.low, numbers.high, numbers.predicted].flatMap(finite));
  const theory = finite(numbers.predicted).some(Number.isFinite);
  byId("profile-theory").hidden = !theory;
  byId("profile-none").hidden = rows.length > 0;
  const words = Object.entries(chosenWords(state)).map(([key, value]) => said(state, key, value)).join(", ");
  byId("network-name").textContent = words;
  const lost = rows.filter((row) => !Number.isFinite(numbers.median[row])).length;
  byId("profile-note").textContent = lost ? `${lost} of ${rows.length} layers have no finite number here.` : "";
  byId("profile").setAttribute("aria-label", describe(chosen.label, at, finite(numbers.median)));
}

function said(state, key, value) {
  const sheet = report.maps.find((each) => each.name === state.sheet);
  return keyOf(sheet, key).numbers === null ? value : `${keyOf(sheet, key).label} ${shorter(value)}`;
}

function describe(label, at, numbers) {
  const known = at.map((layer, i) => [layer, numbers[i]]).filter(([, value]) => Number.isFinite(value));
  if (!known.length) return `${label}: nothing to draw`;
  const [first, last] = [known[0], known.at(-1)];
  return `${label} from ${written(first[1])} at layer ${first[0]} to ${written(last[1])} at layer ${last[0]}`;
}

function fit(range, numbers) {
  const finite = numbers.filter(Number.isFinite);
  if (!finite.length) return range.setv({start: 0, end: 1});
  const low = Math.min(...finite);
  const high = Math.max(...finite);
  const room = high > low ? 0.04 * (high - low) : 0.5;
  range.setv({start: low - room, end: high + room});
}

async function drawHistogram(state) {
  if (!report.histograms) return;
  const sheet = report.histograms;
  const rows = await layersOf(sheet, state);
  const {codes} = sheet.open;
  const layers = [...new Set(rows.map((row) => codes.layer[row]))];
  const slider = byId("histogram-layer");
  slider.max = String(Math.max(0, layers.length - 1));
  const place = Math.min(Number(slider.value), layers.length - 1);
  const {median: counts} = await columnOf(sheet, "count");
  const bins = keyOf(sheet, "bin");
  const edges = bins.numbers;
  const of = new Float64Array(bins.words.length);
  for (const row of rows) if (codes.layer[row] === layers[place]) of[codes.bin[row]] += counts[row];
  const total = of.reduce((sum, count) => sum + count, 0) || 1;
  models.histogramData.data = {left: edges.slice(0, -1), right: edges.slice(1),
    top: edges.slice(0, -1).map((_, bin) => of[bin] / total)};
  models.histogram.x_range.setv({start: edges[0], end: edges.at(-1)});
  const top = Math.max(...edges.slice(0, -1).map((_, bin) => of[bin] / total));
  models.histogram.y_range.setv({start: 0, end: 1.08 * top || 1});
  const outside = bins.words.slice(edges.length).map((words, i) => [words, of[edges.length + i] / total])
    .filter(([, share]) => share > 0);
  const layer = layers.length ? keyOf(sheet, "layer").words[layers[place]] : "none";
  byId("histogram-words").textContent = [`Layer ${layer}, all seeds together.`,
    ...outside.map(([words, share]) => `${written(100 * share)}% of the activations are ${words === "not finite" ? words : `${words} the bins`}.`),
  ].join(" ");
  slider.setAttribute("aria-valuetext", `layer ${layer}`);
}
