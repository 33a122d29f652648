// Colors and ticks: where a number stands between the ends of a color bar, and round places on an axis.
"use strict";

/** From a number to 0 .. 1, as matplotlib's Normalize, LogNorm and SymLogNorm do it. */
function fraction({kind, low, high, threshold, linear}, value) {
  if (kind === "log") return (Math.log(value) - Math.log(low)) / (Math.log(high) - Math.log(low));
  if (kind === "symlog") {
    const bent = (x) => bend(x, threshold, linear);
    return (bent(value) - bent(low)) / (bent(high) - bent(low));
  }
  return (value - low) / (high - low);
}

function bend(value, threshold, linear) {
  const scale = linear / (1 - 1 / 10);
  const size = Math.abs(value);
  if (size <= threshold) return value * scale;
  return Math.sign(value) * threshold * (scale + Math.log10(size / threshold));
}

const clipped = (share) => Math.min(1, Math.max(0, share));

function quantile(numbers, share) {
  const sorted = Float64Array.from(numbers).sort();
  return sorted.length ? sorted[Math.round(share * (sorted.length - 1))] : 1;
}

/** The scale of what is shown of a column: its own, or one of its spread or deviations. */
function scaleOf(column, show, numbers) {
  if (show === "median") return column.scale;
  const finite = numbers.filter(Number.isFinite);
  if (show === "spread") return {kind: "linear", low: 0, high: quantile(finite, 0.995) || 1, palette: "viridis"};
  const limit = Math.max(quantile(finite.map(Math.abs), 0.995) || 1, show === "z" ? 3 : 0);
  return {kind: "linear", low: -limit, high: limit, palette: "vlag"};
}

/** Round ticks of a color bar as [share, words]. */
function barTicks(scale) {
  let values;
  if (scale.kind === "linear") values = linearTicks(scale.low, scale.high, 5);
  else if (scale.kind === "log") values = logTicks(scale.low, scale.high, 6);
  else {
    const top = Math.max(Math.abs(scale.low), Math.abs(scale.high));
    const sides = logTicks(Math.max(scale.threshold, 1e-3), top, 4);
    values = [...sides.map((tick) => -tick).reverse(), 0, ...sides];
    values = values.filter((tick) => tick >= scale.low && tick <= scale.high);
  }
  const ticks = [];
  for (const value of values) {
    const at = fraction(scale, value);
    if (!ticks.length || at - ticks.at(-1)[0] > 0.06) ticks.push([at, written(value)]);
  }
  return ticks;
}

function linearTicks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((each) => each >= rough) ?? 10 * power;
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(i * step);
  return ticks;
}

function logTicks(low, high, most) {
  for (const factors of [[1, 2, 5], [1, 3], [1]]) {
    const ticks = [];
    for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++)
      for (const factor of factors) {
        const tick = factor * 10 ** power;
        if (tick >= low * 0.999 && tick <= high * 1.001) ticks.push(tick);
      }
    if (ticks.length <= most || factors.length === 1) {
      const stride = Math.ceil(ticks.length / most);
      return ticks.filter((_, i) => i % stride === 0);
    }
  }
  return [];
}

/** Ticks of a key of which the values `shown` (codes) stand side by side at 0, 1, 2 ...: [place, words]. */
function axisTicks(key, shown, most) {
  const few = shown.length <= most;
  if (key.numbers === null || few) {
    const stride = Math.ceil(shown.length / most);
    return shown.map((code, place) => [place, shorter(key.words[code])]).filter((_, place) => place % stride === 0);
  }
  const low = key.numbers[shown[0]];
  const high = key.numbers[shown.at(-1)];
  const values = key.log ? logTicks(low, high, most) : linearTicks(low, high, most);
  if (!key.log && low > values[0] - 1e-9 === false && low < (values[0] + values[1]) / 2 && low !== values[0])
    values.unshift(low);
  return values.map((value) => [placeOf(key, shown, value), written(value)]).filter(([place]) => Number.isFinite(place));
}

const shorter = (words) => (words.length > 22 ? `${words.slice(0, 20)}…` : words.replace(/^-/, "−"));

/** Where a number stands among the values shown, between two of them by its distance from both; NaN outside. */
function placeOf(key, shown, value) {
  const bent = key.log ? Math.log : Number;
  const at = shown.map((code) => bent(key.numbers[code]));
  const wanted = bent(value);
  if (at.length === 1) return wanted === at[0] ? 0 : NaN;
  const end = at.findIndex((place) => place >= wanted - 1e-12);
  if (end <= 0) {
    const before = (wanted - at[0]) / (at[1] - at[0]);
    return end === 0 && before >= -0.5 ? before : end < 0 && (wanted - at.at(-1)) / (at.at(-1) - at.at(-2)) <= 0.5
      ? at.length - 1 + (wanted - at.at(-1)) / (at.at(-1) - at.at(-2)) : NaN;
  }
  return end - 1 + (wanted - at[end - 1]) / (at[end] - at[end - 1]);
}
