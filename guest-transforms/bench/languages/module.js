// The bench's work in JavaScript: filters on an integer column and rewrites a text column.

const tables = new Map();
export const transformer = {
  describe() { return { name: 'bench-js', version: '1.0.0', configSchema: undefined }; },
  plan(table, schema, config) {
    const plan = { renames: [], drops: [], notes: [], hints: [],
      outputs: [{ name: 'kind', sqlType: { tag: 'scalar', val: { tag: 'text', val: undefined } }, nullable: true, source: { tag: 'computed' } }],
      rows: { inputs: ['account', 'kind'], needs: { deterministic: true, filters: true }, text: 'strings' } };
    return { tag: 'include', val: plan };
  },
  transform(table, batch) {
    const rows = batch.rows;
    const numbers = batch.columns[0].values.val;
    const texts = batch.columns[1].values.val;
    const keep = new Uint8Array((rows + 7) >> 3).fill(255);
    const out = new Array(rows);
    for (let row = 0; row < rows; row++) {
      if (numbers[row] < 0) keep[row >> 3] &= ~(1 << (row & 7));
      out[row] = texts[row].toUpperCase();
    }
    return { keep, columns: [{ nulls: batch.columns[1].nulls, absent: batch.columns[1].absent, values: { tag: 'strings', val: out } }], errors: [] };
  },
  forget(table) {},
};
