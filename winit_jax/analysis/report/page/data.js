// The tables of the page: arrays that are unpacked when they are first needed, and rows by the values of their keys.
"use strict";

const report = JSON.parse(document.getElementById("data").textContent);
const ARRAYS = {f4: Float32Array, u2: Uint16Array, u1: Uint8Array};
const unpacked = new WeakMap();

/** An array of the page as numbers: byte planes, deflated, in base64. */
function unpack(packed) {
  if (!packed) return Promise.resolve(null);
  if (!unpacked.has(packed)) unpacked.set(packed, inflate(packed));
  return unpacked.get(packed);
}

async function inflate({kind, count, text}) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const planes = new Uint8Array(await new Response(stream).arrayBuffer());
  const size = ARRAYS[kind].BYTES_PER_ELEMENT;
  const whole = new Uint8Array(count * size);
  for (let byte = 0; byte < size; byte++)
    for (let i = 0; i < count; i++) whole[i * size + byte] = planes[byte * count + i];
  return new ARRAYS[kind](whole.buffer);
}

/** The codes of a sheet's keys and whether points overflowed, unpacked: what every view of it needs. */
async function opened(sheet) {
  if (!sheet.open) {
    const codes = {};
    for (const key of sheet.keys) codes[key.name] = await unpack(sheet.codes[key.name]);
    sheet.open = {codes, overflow: await unpack(sheet.overflow)};
  }
  return sheet.open;
}

/** The arrays of a column; its ends are the median where the page has no others. */
async function columnOf(sheet, name) {
  const {low, high, predicted, z, ...column} = sheet.columns[name];
  const median = await unpack(column.median);
  return {median, low: (await unpack(low)) ?? median, high: (await unpack(high)) ?? median,
    predicted: await unpack(predicted), z: await unpack(z)};
}

const keyOf = (sheet, name) => sheet.keys.find((key) => key.name === name);

/** The rows of an open sheet that have these codes: [[array, code], ...]. */
function rowsWith(sheet, wanted) {
  const tests = Object.entries(wanted)
    .filter(([name, code]) => code >= 0 && sheet.open.codes[name])
    .map(([name, code]) => [sheet.open.codes[name], code]);
  const rows = [];
  const count = sheet.open.overflow.length;
  for (let row = 0; row < count; row++)
    if (tests.every(([codes, code]) => codes[row] === code)) rows.push(row);
  return rows;
}

/** A number as the tables' readers write it: four digits, a true minus. */
function written(value) {
  if (Number.isNaN(value)) return "not defined";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  const text = size !== 0 && (size < 1e-3 || size >= 1e5) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
  return text.replace(/-/g, "−").replace("e+", "e");
}
