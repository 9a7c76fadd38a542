// The bench's work in JavaScript: filters on an integer column and rewrites a text column.
//
// A string for each value costs microseconds (strings.js); here the column is rewritten at once by what the engine has built in.

import { textColumn, texts } from './columns.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { ignoreBOM: true });

export const transformer = {
  describe() {
    return { name: 'bench-js', version: '1.0.0', configSchema: undefined };
  },

  plan(table, schema, config) {
    const text = { tag: 'scalar', val: { tag: 'text', val: undefined } };
    const plan = {
      renames: [],
      drops: [],
      notes: [],
      hints: [],
      outputs: [{ name: 'kind', sqlType: text, nullable: true, source: { tag: 'computed' } }],
      rows: { inputs: ['account', 'kind'], needs: { deterministic: true, filters: true }, text: 'buffers' },
    };
    return { tag: 'include', val: plan };
  },

  transform(table, batch) {
    const numbers = batch.columns[0].values.val;
    const keep = new Uint8Array((batch.rows + 7) >> 3).fill(255);
    for (let row = 0; row < batch.rows; row++) {
      if (numbers[row] < 0) keep[row >> 3] &= ~(1 << (row & 7));
    }
    return { keep, columns: [upperCase(batch.columns[1])], errors: [] };
  },

  forget(table) {},
};

function upperCase({ nulls, absent, values }) {
  const { offsets, data } = values.val;
  const text = decoder.decode(data);
  // Other letters than those of ASCII may change their length.
  if (text.length !== data.length) return textColumn(texts({ nulls, absent, values }).map(upperCaseText));
  return { nulls, absent, values: { tag: 'utf8', val: { offsets, data: encoder.encode(text.toUpperCase()) } } };
}

function upperCaseText(text) {
  return typeof text === 'string' ? text.toUpperCase() : text;
}
