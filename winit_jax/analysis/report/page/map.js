// The map: one column over two keys, a cell that is chosen by mouse, finger or arrow keys, and what is read of it.
"use strict";

const SHOWN = {median: "median over seeds", spread: "greatest less least seed",
  difference: "measured less mean field", z: "standard errors from mean field"};
const LOST = {
  overflow: {color: 0xff8ad7f6, words: "overflow"},
  diverged: {color: 0xff8a9be8, words: "most seeds diverged"},
  infinite: {color: 0xffb9c8f2, words: "some seeds diverged, or infinite"},
  unreached: {color: 0xffd8cdc2, words: "target accuracy not reached"},
  stable: {color: 0xffbfd8c2, words: "did not diverge"},
  zero: {color: 0xffb5b5b5, words: "exactly zero"},
  undefined: {color: 0xffdcb8d4, words: "not defined"},
  missing: {color: 0x00000000, words: "not run"},
};

/** What is shown of one map: which values stand where, the row of each cell, its number and its kind. */
async function gridOf(state) {
  const sheet = report.maps.find((each) => each.name === state.sheet);
  const {codes, overflow} = await opened(sheet);
  const column = sheet.columns[state.column];
  const numbers = await columnOf(sheet, state.column);
  const fixed = Object.fromEntries(Object.entries(state.at).filter(([name]) => name !== state.x && name !== state.y));
  const rows = rowsWith(sheet, fixed);
  const xs = present(codes[state.x], rows);
  const ys = state.y ? present(codes[state.y], rows) : [0];
  const cells = new Int32Array(xs.length * ys.length).fill(-1);
  const acrossOf = new Map(xs.map((code, place) => [code, place]));
  const upOf = new Map(ys.map((code, place) => [code, place]));
  for (const row of rows) {
    const up = state.y ? upOf.get(codes[state.y][row]) : 0;
    cells[up * xs.length + acrossOf.get(codes[state.x][row])] = row;
  }
  const values = shownOf(numbers, state.show);
  const kinds = (row) => kindOf(column, state.show, row < 0 ? NaN : values[row], row < 0 ? null : overflow[row]);
  return {sheet, column, numbers, values, rows, xs, ys, cells, kinds};
}

function present(codes, rows) {
  return [...new Set(rows.map((row) => codes[row]))].sort((a, b) => a - b);
}

function shownOf({median, low, high, predicted, z}, show) {
  if (show === "spread") return median.map((_, row) => high[row] - low[row]);
  if (show === "difference") return median.map((value, row) => value - predicted[row]);
  return show === "z" ? z : median;
}

/** Why a cell has no color of its own; nothing where it has. overflow: null where no network was run. */
function kindOf(column, show, value, overflow) {
  if (overflow === null) return "missing";
  if (overflow) return column.learnt ? "diverged" : "overflow";
  if (Number.isFinite(value)) return "";
  if (show === "median" && value === Infinity && column.learnt) return column.infinite ?? "infinite";
  return show === "median" && value === -Infinity && column.vanishes ? "zero" : "undefined";
}

/** Draw the map of a state into its figure. */
function drawMap(state, grid) {
  const {sheet, column, values, rows, xs, ys, cells, kinds} = grid;
  const scale = scaleOf(column, state.show, Array.from(rows, (row) => values[row]));
  const colors = report.palettes[scale.palette].map((hex) => 0xff000000 | swapped(parseInt(hex.slice(1), 16)));
  const pixels = new Uint32Array(cells.length);
  const used = new Set();
  cells.forEach((row, place) => {
    const kind = kinds(row);
    if (kind) used.add(kind);
    const share = kind ? 0 : clipped(fraction(scale, values[row]));
    pixels[place] = kind ? LOST[kind].color : colors[Math.min(255, Math.floor(share * 256))];
  });
  const figure = models.map;
  const NDArray = models.empty.constructor;
  models.image.data = {image: [new NDArray(pixels.buffer, [ys.length, xs.length])],
    x: [-0.5], y: [-0.5], dw: [xs.length], dh: [ys.length]};
  figure.x_range.setv({start: -0.5, end: xs.length - 0.5});
  figure.y_range.setv({start: -0.5, end: ys.length - 0.5});
  setTicks(models.mapX, axisTicks(keyOf(sheet, state.x), xs, figure.inner_width > 0 && figure.inner_width < 420 ? 5 : 8));
  setTicks(models.mapY, state.y ? axisTicks(keyOf(sheet, state.y), ys, 8) : []);
  models.mapX.axis_label = keyOf(sheet, state.x).label;
  models.mapY.axis_label = state.y ? keyOf(sheet, state.y).label : "";
  models.bar.color_mapper.palette = report.palettes[scale.palette];
  setTicks(models.bar, barTicks(scale));
  drawLines(state, grid);
  placeCursor(state, grid);
  const words = state.show === "median" ? column.label : `${column.label}, ${SHOWN[state.show]}`;
  byId("map-title").textContent = words;
  byId("map-held").textContent = [sheet.held, sheet.seeds > 1 ? `${SHOWN.median}, ${sheet.seeds} seeds` : "one seed"]
    .filter(Boolean).join("; ");
  showLegend(used);
}

const swapped = (rgb) => ((rgb & 0xff) << 16) | (rgb & 0xff00) | (rgb >> 16);

function setTicks(axis, ticks) {
  axis.ticker.ticks = ticks.map(([place]) => place);
  axis.major_label_overrides = new Map(ticks);
}

/** Mean field's lines, those of them that speak of what is shown. */
function drawLines(state, {sheet, xs, ys}) {
  const across = keyOf(sheet, state.x);
  const up = keyOf(sheet, state.y);
  const shown = (sheet.lines ?? []).filter((line) =>
    up && line.scale === sheet.columns[state.column].lines &&
    ((line.x === across.name && line.y === up.name) || (line.x === up.name && line.y === across.name)) &&
    Object.entries(line.at).every(([key, code]) => state.at[key] === code));
  const data = {xs: [], ys: [], dash: [], width: []};
  for (const line of shown) {
    const [lineX, lineY] = line.x === across.name ? [line.xs, line.ys] : [line.ys, line.xs];
    data.xs.push(lineX.map((value) => placeOf(across, xs, value)));
    data.ys.push(lineY.map((value) => placeOf(up, ys, value)));
    data.dash.push(line.dash);
    data.width.push(line.width);
  }
  models.lines.data = data;
  byId("map-lines").replaceChildren(...[...new Set(shown.map((line) => line.words))].map((words) => {
    const line = shown.find((each) => each.words === words);
    const item = document.createElement("li");
    item.append(stroke(line.dash, line.width), words);
    return item;
  }));
}

function stroke(dash, width) {
  const sample = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  sample.setAttribute("class", "stroke");
  sample.setAttribute("viewBox", "0 0 28 6");
  sample.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
  for (const [name, value] of Object.entries({x1: 0, x2: 28, y1: 3, y2: 3, "stroke-width": width,
    "stroke-dasharray": dash.join(" ")})) line.setAttribute(name, value);
  sample.append(line);
  return sample;
}

function showLegend(used) {
  byId("map-legend").replaceChildren(...Object.keys(LOST).filter((kind) => used.has(kind)).map((kind) => {
    const item = document.createElement("li");
    const sample = document.createElement("span");
    sample.className = "sample";
    const abgr = LOST[kind].color;
    sample.style.background = abgr ? `#${(swapped(abgr & 0xffffff)).toString(16).padStart(6, "0")}` : "transparent";
    item.append(sample, LOST[kind].words);
    return item;
  }));
}

function placeCursor(state, {xs, ys}) {
  const place = [xs.indexOf(state.at[state.x]), state.y ? ys.indexOf(state.at[state.y]) : 0];
  models.cursor.data = {x: [place[0]], y: [place[1]]};
}

/** What is read of a cell: a sentence. */
function reading(state, grid, row) {
  const {sheet, numbers, kinds} = grid;
  const place = sheet.keys.map((key) => {
    const words = key.words[sheet.open.codes[key.name][row]];
    return key.numbers === null ? words : `${key.label} ${shorter(words)}`;
  }).join(", ");
  const kind = kinds(row);
  const value = numbers.median[row];
  const words = kind && !Number.isFinite(value) ? LOST[kind].words : written(value) + (kind ? ` (${LOST[kind].words})` : "");
  const parts = [`${grid.column.label}: ${words}`];
  if (sheet.seeds > 1 && Number.isFinite(numbers.low[row] + numbers.high[row]))
    parts.push(`seeds from ${written(numbers.low[row])} to ${written(numbers.high[row])}`);
  if (numbers.predicted && Number.isFinite(numbers.predicted[row])) {
    parts.push(`mean field ${written(numbers.predicted[row])}`);
    if (numbers.z && Number.isFinite(numbers.z[row])) parts.push(`z ${written(numbers.z[row])}`);
  }
  return {place, parts};
}
