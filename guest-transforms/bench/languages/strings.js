// The bench's work in JavaScript with a string for each value: filters on an integer column and rewrites a text column.

import { textColumn, texts } from './columns.js';

export const transformer = {
  describe() {
    return { name: 'bench-js-strings', version: '1.0.0', configSchema: undefined };
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
    const kinds = textColumn(texts(batch.columns[1]).map(upperCase));
    return { keep, columns: [kinds], errors: [] };
  },

  forget(table) {},
};

function upperCase(text) {
  return typeof text === 'string' ? text.toUpperCase() : text;
}
