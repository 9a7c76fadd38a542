// Text columns as arrays of JavaScript strings, and back.
//
//     const upper = (name) => (typeof name === 'string' ? name.toUpperCase() : name);
//     const column = textColumn(texts(batch.columns[0]).map(upper));
//
// NULL is `null`. A value that the log does not have, which only a plan with `partialImages` meets, is `ABSENT`; in an answer it
// leaves the target's column as it is. `undefined` is refused: it is what `?.` makes of NULL, and a function that returns nothing.
//
// The plan asks for `text: 'buffers'`. With 'strings' the bindings make the strings, in many steps of an interpreter: they take several
// times as long, and drop a byte order mark (U+FEFF) at the start of a value.

/** A value that the log does not have. */
export const ABSENT = Symbol('absent');

// Not to heed the mark is to keep it.
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });
const encoder = new TextEncoder();

const NONE = new Uint8Array();

/** The values of a text column, and of all else that travels as `utf8`: strings, `null`, `ABSENT`. */
export function texts(column) {
  if (column.values.tag !== 'utf8') throw new TypeError(`wanted a column of the layout utf8, found ${column.values.tag}`);
  const { offsets, data } = column.values.val;
  const values = new Array(offsets.length - 1);
  for (let row = 0, start = 0; row < values.length; row++) {
    const end = offsets[row + 1];
    values[row] = decoder.decode(data.subarray(start, end));
    start = end;
  }
  forEachBit(column.nulls, (row) => (values[row] = null));
  forEachBit(column.absent, (row) => (values[row] = ABSENT));
  return values;
}

/** A column of such values for an answer. */
export function textColumn(values) {
  const column = { nulls: NONE, absent: NONE, values: undefined };
  const offsets = new Uint32Array(values.length + 1);
  let letters = 0;
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (typeof value === 'string') letters += value.length;
    else if (value === null) column.nulls = withBit(column.nulls, row, values.length);
    else if (value === ABSENT) column.absent = withBit(column.absent, row, values.length);
    else throw new TypeError(`wanted a string, null or ABSENT, found a value of the type ${typeof value}`);
    offsets[row + 1] = letters;
  }
  // NULL joins as an empty text, which is what its slot holds; `ABSENT` does not join.
  const slots = column.absent === NONE ? values : values.filter((value) => value !== ABSENT);
  const data = encoder.encode(slots.join(''));
  // As many bytes as letters: all of them are ASCII, and what was counted are offsets.
  // Otherwise two bytes more for each value: halves of a letter at the end of one and the start of the next take six, not four.
  const val = data.length === letters ? { offsets, data } : encodeEach(values, data.length + 2 * values.length);
  column.values = { tag: 'utf8', val };
  return column;
}

function encodeEach(values, room) {
  const offsets = new Uint32Array(values.length + 1);
  const data = new Uint8Array(room);
  let end = 0;
  for (let row = 0; row < values.length; row++) {
    const value = values[row];
    if (typeof value === 'string') end += encoder.encodeInto(value, data.subarray(end)).written;
    offsets[row + 1] = end;
  }
  return { offsets, data: data.subarray(0, end) };
}

function forEachBit(bitmap, act) {
  for (let byte = 0; byte < bitmap.length; byte++) {
    for (let bits = bitmap[byte], row = byte * 8; bits !== 0; bits >>= 1, row++) if (bits & 1) act(row);
  }
}

function withBit(bitmap, row, rows) {
  const bits = bitmap.length > 0 ? bitmap : new Uint8Array((rows + 7) >> 3);
  bits[row >> 3] |= 1 << (row & 7);
  return bits;
}
