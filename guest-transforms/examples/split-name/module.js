// Splits a full name into two columns.
//
// Configuration: {"column": "name", "given": "given_name", "family": "family_name", "drop": true}. "Family, Given" is split
// at the comma, everything else before the last word; particles ("van", "de", …) stay with the family name. A single
// word is a family name. NULL gives NULL twice. With "drop" the target does not get the column itself. Tables without
// the column are taken as they are.

import { textColumn, texts } from './columns.js';

const KEYS = ['column', 'given', 'family', 'drop'];
const PARTICLES = new Set(['van', 'von', 'de', 'der', 'den', 'da', 'di', 'du', 'del', 'la', 'le', 'ter', 'zu']);

// White space that is not one blank; splitting at a pattern takes three times as long as splitting at a blank.
const OTHER_SPACE = /\s\s|[^\S ]/;

// What is kept of each table, by its number.
const tables = new Map();

export const transformer = {
  describe() {
    return { name: 'split-name', version: '1.0.0', configSchema: undefined };
  },

  plan(table, schema, configText) {
    const config = readConfig(configText);
    const plan = { renames: [], drops: [], outputs: [], notes: [], hints: [] };
    if (schema.columns.some((column) => column.name === config.column)) {
      const computed = (name) => ({
        name,
        sqlType: { tag: 'scalar', val: { tag: 'text', val: undefined } },
        nullable: true,
        source: { tag: 'computed' },
      });
      plan.outputs = [computed(config.given), computed(config.family)];
      plan.drops = config.drop ? [config.column] : [];
      plan.rows = { inputs: [config.column], needs: { deterministic: true, partialImages: true }, text: 'buffers' };
      tables.set(table, config);
    }
    return { tag: 'include', val: plan };
  },

  transform(table, batch) {
    const names = texts(batch.columns[0]).map(split);
    const columns = [textColumn(names.map((name) => name.given)), textColumn(names.map((name) => name.family))];
    return { keep: new Uint8Array(), columns, errors: [] };
  },

  forget(table) {
    tables.delete(table);
  },
};

function readConfig(text) {
  let config;
  try {
    config = JSON.parse(text);
  } catch {
    refuse('the configuration is not JSON');
  }
  if (config === null || typeof config !== 'object' || Array.isArray(config)) refuse('the configuration is not an object');
  for (const key of Object.keys(config)) {
    if (!KEYS.includes(key)) refuse(`this key is not known; known are ${KEYS.join(', ')}`, key);
  }
  for (const key of ['column', 'given', 'family']) {
    if (typeof config[key] !== 'string' || config[key] === '') refuse('the name of a column is wanted', key);
  }
  if (!['undefined', 'boolean'].includes(typeof config.drop)) refuse('true or false is wanted', 'drop');
  return config;
}

function refuse(message, configPath) {
  // A thrown value of the error's form becomes the error of the call; anything else would end the sandbox.
  throw { configPath, message };
}

function split(name) {
  // NULL gives NULL twice; a name that the log lacks leaves both columns in the target as they are.
  if (typeof name !== 'string') return { given: name, family: name };
  const comma = name.indexOf(',');
  if (comma >= 0) return { given: orNull(name.slice(comma + 1).trim()), family: orNull(name.slice(0, comma).trim()) };
  const words = (OTHER_SPACE.test(name) ? name.replace(/\s+/g, ' ') : name).trim().split(' ');
  let at = words.length - 1;
  while (at > 1 && PARTICLES.has(words[at - 1].toLowerCase())) at--;
  return { given: orNull(words.slice(0, at).join(' ')), family: orNull(words.slice(at).join(' ')) };
}

function orNull(text) {
  return text === '' ? null : text;
}
