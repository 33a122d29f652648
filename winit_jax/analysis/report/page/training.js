// Losses and accuracies against the step: a line a value of one key, the others chosen.
"use strict";

const MOST_LINES = 12;

async function drawCurves(state) {
  if (!report.curves) return;
  const sheet = report.curves;
  const {codes} = await opened(sheet);
  const hue = keyOf(sheet, state.hue);
  const fixed = Object.fromEntries(Object.entries(state.curvesAt).filter(([name]) => name !== state.hue));
  const rows = rowsWith(sheet, fixed);
  const numbers = await columnOf(sheet, state.curve);
  const steps = keyOf(sheet, "step").numbers;
  const values = hue ? present(codes[hue.name], rows) : [0];
  const stride = Math.ceil(values.length / MOST_LINES);
  const drawn = values.filter((_, i) => i % stride === 0);
  const data = {xs: [], ys: [], color: [], bandX: [], bandY: []};
  drawn.forEach((value, i) => {
    const line = rows.filter((row) => !hue || codes[hue.name][row] === value)
      .filter((row) => Number.isFinite(numbers.median[row])).sort((a, b) => codes.step[a] - codes.step[b]);
    const at = line.map((row) => steps[codes.step[row]]);
    const banded = line.filter((row) => Number.isFinite(numbers.low[row] + numbers.high[row]));
    data.xs.push(at);
    data.ys.push(line.map((row) => numbers.median[row]));
    data.color.push(report.lineColors[i % report.lineColors.length]);
    data.bandX.push([...banded, ...banded.toReversed()].map((row) => steps[codes.step[row]]));
    data.bandY.push([...banded.map((row) => numbers.low[row]), ...banded.toReversed().map((row) => numbers.high[row])]);
  });
  models.curvesData.data = data;
  models.curvesY.axis_label = sheet.columns[state.curve].label;
  fit(models.curves.x_range, data.xs.flat());
  fit(models.curves.y_range, [...data.ys.flat(), ...data.bandY.flat()]);
  byId("curves-legend").replaceChildren(...drawn.map((value, i) => {
    const item = document.createElement("li");
    const sample = document.createElement("span");
    sample.className = "sample";
    sample.style.background = data.color[i];
    item.append(sample, hue ? (hue.numbers === null ? hue.words[value] : `${hue.label} ${hue.words[value]}`) : "all");
    return item;
  }));
  byId("curves-note").textContent = drawn.length < values.length
    ? `${drawn.length} of ${values.length} values of ${hue.label}.` : "";
}
