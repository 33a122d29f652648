// The page: its state, which stands in the address, its controls, and when what is drawn.
"use strict";

const byId = (id) => document.getElementById(id);
const models = {};
let state = null;
let grid = null;

/** A select with a label; `options` as [value, words]. */
function select(id, label, options, value, change) {
  const box = document.createElement("label");
  box.append(label);
  const chooser = document.createElement("select");
  chooser.id = id;
  for (const [option, words] of options) chooser.add(new Option(words, option, false, option === value));
  chooser.addEventListener("change", () => change(chooser.value));
  box.append(chooser);
  return box;
}

const sheetOf = (name) => report.maps.find((sheet) => sheet.name === name);

/** The state of a page that nobody has touched: the first column, the deepest networks, the middle of the axis. */
function usual() {
  const sheet = report.maps[0];
  const columns = Object.keys(sheet.columns);
  const at = Object.fromEntries(sheet.keys.map((key) => [key.name, sheet.at[key.name] ?? 0]));
  at[sheet.x] = Math.floor(keyOf(sheet, sheet.x).words.length / 2);
  if (sheet.y) at[sheet.y] = keyOf(sheet, sheet.y).words.length - 1;
  const curves = report.curves;
  const hue = curves ? report.hue : "";
  return {
    sheet: sheet.name, column: columns.includes(report.first) ? report.first : columns[0], show: "median",
    x: sheet.x, y: sheet.y, at, profile: report.first,
    curve: curves ? Object.keys(curves.columns).find((name) => name === "train_loss") ?? Object.keys(curves.columns)[0] : "",
    hue, curvesAt: curves ? Object.fromEntries(curves.keys.filter((key) => key.name !== "step").map((key) => [key.name, 0])) : {},
  };
}

/** The state that the address asks for; what it says wrong counts as not said. */
function fromAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  const next = usual();
  if (sheetOf(said.get("table"))) {
    next.sheet = said.get("table");
    const sheet = sheetOf(next.sheet);
    [next.x, next.y, next.column] = [sheet.x, sheet.y, Object.keys(sheet.columns)[0]];
    next.at = Object.fromEntries(sheet.keys.map((key) => [key.name, next.at[key.name] ?? 0]));
  }
  const sheet = sheetOf(next.sheet);
  if (said.get("column") in sheet.columns) next.column = said.get("column");
  if (said.get("show") in SHOWN && shows(sheet.columns[next.column], sheet).includes(said.get("show"))) next.show = said.get("show");
  const [x, y] = [said.get("x"), said.get("y")];
  if (keyOf(sheet, x) && keyOf(sheet, y) && x !== y) [next.x, next.y] = [x, y];
  for (const key of sheet.keys) {
    const code = key.words.indexOf(said.get(key.name));
    if (code >= 0) next.at[key.name] = code;
  }
  if (profileColumns().some(({name}) => name === said.get("profile"))) next.profile = said.get("profile");
  if (report.curves && said.get("curve") in report.curves.columns) next.curve = said.get("curve");
  if (report.curves && keyOf(report.curves, said.get("lines"))) next.hue = said.get("lines");
  for (const key of report.curves?.keys ?? []) {
    const code = key.words.indexOf(said.get(`curves.${key.name}`));
    if (code >= 0 && key.name !== "step") next.curvesAt[key.name] = code;
  }
  return next;
}

function toAddress() {
  const said = new URLSearchParams({table: state.sheet, column: state.column, show: state.show, x: state.x, y: state.y});
  for (const [key, words] of Object.entries(chosenWords(state))) said.set(key, words);
  if (state.profile) said.set("profile", state.profile);
  if (report.curves) {
    said.set("curve", state.curve);
    said.set("lines", state.hue);
    for (const key of report.curves.keys)
      if (key.name in state.curvesAt) said.set(`curves.${key.name}`, key.words[state.curvesAt[key.name]]);
  }
  history.replaceState(null, "", `#${said}`);
}

const shows = (column, sheet) => ["median", ...(sheet.seeds > 1 ? ["spread"] : []),
  ...(column.predicted ? ["difference"] : []), ...(column.z ? ["z"] : [])];

/** Values of other keys that exist beside the one just chosen: an init of its own scale has no other. */
function mend(sheet, at, chosen) {
  const fixed = Object.fromEntries(Object.entries(at).filter(([name]) => name !== state.x && name !== state.y));
  if (rowsWith(sheet, fixed).length) return;
  const row = rowsWith(sheet, chosen ? {[chosen]: at[chosen]} : {})[0] ?? 0;
  for (const key of sheet.keys) if (key.name !== chosen) at[key.name] = sheet.open.codes[key.name][row];
}

/** The cell that is chosen is one that was run. */
function settle() {
  const {xs, ys, cells} = grid;
  const place = (ys.indexOf(state.at[state.y]) < 0 && state.y ? -1 : state.y ? ys.indexOf(state.at[state.y]) : 0);
  const across = xs.indexOf(state.at[state.x]);
  if (place >= 0 && across >= 0 && cells[place * xs.length + across] >= 0) return;
  const row = cells.find((each) => each >= 0);
  if (row === undefined) return;
  state.at[state.x] = grid.sheet.open.codes[state.x][row];
  if (state.y) state.at[state.y] = grid.sheet.open.codes[state.y][row];
}

async function change(what, chosen) {
  Object.assign(state, what);
  const sheet = sheetOf(state.sheet);
  await opened(sheet);
  mend(sheet, state.at, chosen);
  if (!shows(sheet.columns[state.column], sheet).includes(state.show)) state.show = "median";
  grid = await gridOf(state);
  settle();
  controls();
  drawMap(state, grid);
  await chosenCell();
}

/** What follows from the cell that is chosen. */
async function chosenCell() {
  placeCursor(state, grid);
  const row = rowAt(grid.xs.indexOf(state.at[state.x]), state.y ? grid.ys.indexOf(state.at[state.y]) : 0);
  const {place, parts} = row < 0 ? {place: "", parts: ["not run"]} : reading(state, grid, row);
  byId("reading-place").textContent = place;
  byId("reading-value").textContent = parts.join("; ");
  toAddress();
  if (report.profiles.length) await drawProfile(state);
  await drawHistogram(state);
}

const rowAt = (across, up) => {
  if (!(across >= 0 && up >= 0 && across < grid.xs.length && up < grid.ys.length)) return -1;
  return grid.cells[up * grid.xs.length + across];
};

/** The controls of the map, as its state has them. */
function controls() {
  const sheet = sheetOf(state.sheet);
  const focused = document.activeElement?.id;
  const columns = report.maps.flatMap((each) =>
    Object.entries(each.columns).map(([name, column]) => [`${each.name} ${name}`, column.label]));
  const keys = sheet.keys.map((key) => [key.name, key.label]);
  const boxes = [
    select("column", "Column", columns, `${state.sheet} ${state.column}`, (value) => {
      const [name, column] = value.split(" ");
      const next = {sheet: name, column};
      if (name !== state.sheet) {
        const other = sheetOf(name);
        const words = chosenWords(state);
        next.at = Object.fromEntries(other.keys.map((key) => [key.name, Math.max(0, key.words.indexOf(words[key.name]))]));
        if (!keyOf(other, state.x) || (state.y && !keyOf(other, state.y))) [next.x, next.y] = [other.x, other.y];
      }
      if (profileColumns().some((each) => each.name === column)) next.profile = column;
      change(next);
    }),
    select("show", "Shown", shows(sheet.columns[state.column], sheet).map((name) => [name, SHOWN[name]]), state.show,
      (show) => change({show})),
  ];
  if (keys.length > 1) {
    boxes.push(select("x", "Across", keys, state.x, (x) => change(x === state.y ? {x, y: state.x} : {x})));
    boxes.push(select("y", "Up", keys, state.y, (y) => change(y === state.x ? {y, x: state.y} : {y})));
  }
  for (const key of sheet.keys)
    if (key.name !== state.x && key.name !== state.y)
      boxes.push(select(`at-${key.name}`, key.label, key.words.map((words, code) => [String(code), words]),
        String(state.at[key.name]), (code) => change({at: {...state.at, [key.name]: Number(code)}}, key.name)));
  byId("map-controls").replaceChildren(...boxes);
  if (report.profiles.length)
    byId("profile-controls").replaceChildren(select("profile-column", "Column",
      profileColumns().map(({name, label}) => [name, label]), state.profile, async (profile) => {
        state.profile = profile;
        toAddress();
        await drawProfile(state);
      }));
  if (focused) byId(focused)?.focus();
}

function curveControls() {
  const sheet = report.curves;
  if (!sheet) return;
  const redraw = async (what) => {
    Object.assign(state, what);
    curveControls();
    toAddress();
    await drawCurves(state);
  };
  const focused = document.activeElement?.id;
  const keys = sheet.keys.filter((key) => key.name !== "step");
  const boxes = [select("curve", "Column", Object.entries(sheet.columns).map(([name, {label}]) => [name, label]),
    state.curve, (curve) => redraw({curve}))];
  if (keys.length > 1)
    boxes.push(select("lines", "Lines", keys.map((key) => [key.name, key.label]), state.hue, (hue) => redraw({hue})));
  for (const key of keys)
    if (key.name !== state.hue)
      boxes.push(select(`curves-${key.name}`, key.label, key.words.map((words, code) => [String(code), words]),
        String(state.curvesAt[key.name]), (code) => redraw({curvesAt: {...state.curvesAt, [key.name]: Number(code)}})));
  byId("curves-controls").replaceChildren(...boxes);
  if (focused) byId(focused)?.focus();
}

/** Mouse, finger and keys on the map. */
function listen() {
  const tip = byId("tip");
  models.map.on_event("mousemove", ({x, y, sx, sy}) => {
    const row = rowAt(Math.round(x), Math.round(y));
    tip.hidden = row < 0;
    if (row < 0) return;
    const {place, parts} = reading(state, grid, row);
    tip.replaceChildren(...[place, ...parts].map((words) => Object.assign(document.createElement("div"), {textContent: words})));
    const room = byId("map").clientWidth;
    tip.style.left = `${Math.min(sx + 14, Math.max(0, room - tip.offsetWidth - 4))}px`;
    tip.style.top = `${sy + 16}px`;
  });
  models.map.on_event("mouseleave", () => { tip.hidden = true; });
  models.map.on_event("tap", ({x, y}) => choose(Math.round(x), Math.round(y)));
  byId("map").addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
    if (!step) return;
    event.preventDefault();
    const many = event.shiftKey ? 10 : 1;
    const bound = (place, count) => Math.min(count - 1, Math.max(0, place));
    choose(bound(grid.xs.indexOf(state.at[state.x]) + many * step[0], grid.xs.length),
      bound((state.y ? grid.ys.indexOf(state.at[state.y]) : 0) + many * step[1], grid.ys.length));
  });
  byId("histogram-layer")?.addEventListener("input", () => drawHistogram(state));
  addEventListener("hashchange", async () => { state = fromAddress(); await change({}); curveControls(); await drawCurves(state); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
}

function choose(across, up) {
  if (rowAt(across, up) < 0) return;
  state.at[state.x] = grid.xs[across];
  if (state.y) state.at[state.y] = grid.ys[up];
  chosenCell();
}

/** The colors of the page, light or dark, on what Bokeh draws. */
function paint() {
  const styles = getComputedStyle(document.documentElement);
  const of = (name) => styles.getPropertyValue(name).trim();
  const [ink, faint] = [of("--ink"), of("--faint")];
  for (const name of ["mapX", "mapY", "profileX", "profileY", "curvesX", "curvesY", "histogramX", "histogramY"])
    models[name]?.setv({axis_label_text_color: ink, major_label_text_color: ink, axis_line_color: faint,
      major_tick_line_color: faint, minor_tick_line_color: null});
  models.bar?.setv({major_label_text_color: ink, title_text_color: ink, major_tick_line_color: faint, bar_line_color: faint});
  for (const grid of models.grids) grid.grid_line_color = of("--grid");
}

async function begin() {
  if (!report.maps.length) return;
  for (const item of report.figures) {
    await Bokeh.embed.embed_item(item, item.target_id);
  }
  for (const bokehDocument of Bokeh.documents)
    for (const name of report.names) models[name] ??= bokehDocument.get_model_by_name(name) ?? undefined;
  models.grids = Bokeh.documents.flatMap((each) => [...each._all_models.values()]).filter((model) => model.type === "Grid");
  models.empty = models.image.data.image[0];
  paint();
  state = fromAddress();
  await change({});
  listen();
  document.documentElement.dataset.drawn = String(Math.round(performance.now()));
  curveControls();
  await drawCurves(state);
}

begin();
