// node --test

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { ABSENT, textColumn, texts } from './columns.js';

const BYTE_ORDER_MARK = '\uFEFF';
const ASCII = ['', 'Ada', 'Lovelace, Ada', 'a\0b', ' '];
const LETTERS = ['é', 'José María', '€', '😀', 'a😀b', '𝒜da', '\u07ff\u0800\uffff', '\u{10ffff}'];
const OTHER = [...LETTERS, BYTE_ORDER_MARK, `${BYTE_ORDER_MARK}x`];

/** What the contract asks of a column of these values, made one value after the other. */
function wanted(values) {
  const spans = values.map((value) => Buffer.from(typeof value === 'string' ? value : '', 'utf8'));
  const offsets = spans.reduce((ends, span) => [...ends, ends.at(-1) + span.length], [0]);
  const bitmap = (is) => {
    if (!values.some(is)) return [];
    const bits = new Array(Math.ceil(values.length / 8)).fill(0);
    values.forEach((value, row) => is(value) && (bits[Math.floor(row / 8)] += 2 ** (row % 8)));
    return bits;
  };
  const [nulls, absent] = [null, ABSENT].map((nothing) => bitmap((value) => value === nothing));
  return { nulls, absent, offsets, data: [...Buffer.concat(spans)] };
}

function found({ nulls, absent, values: { tag, val } }) {
  assert.equal(tag, 'utf8');
  for (const [list, type] of [[nulls, Uint8Array], [absent, Uint8Array], [val.offsets, Uint32Array], [val.data, Uint8Array]]) {
    assert.ok(list instanceof type);
  }
  return { nulls: [...nulls], absent: [...absent], offsets: [...val.offsets], data: [...val.data] };
}

function check(values) {
  const column = textColumn(values);
  assert.deepEqual(found(column), wanted(values));
  assert.deepEqual(texts(column), values);
}

test('values are the same after a way out and back, alone and among others', () => {
  check([]);
  check(ASCII);
  check(OTHER);
  for (const value of [...ASCII, ...OTHER, null, ABSENT]) {
    check([value]);
    check(['before', value, 'after']);
    check(['vörher', value, '', value, 'nächher']);
  }
});

test('bits of NULL and absent values lie where their rows are', () => {
  for (const rows of [1, 7, 8, 9, 17]) {
    for (const nothing of [null, ABSENT]) {
      check(new Array(rows).fill(nothing));
      for (let at = 0; at < rows; at++) check(new Array(rows).fill('é').with(at, nothing));
    }
    check(Array.from({ length: rows }, (_, row) => [null, ABSENT, 'x'][row % 3]));
  }
});

test('any mixture of values is the same after a way out and back', () => {
  let seed = 1;
  const below = (count) => (seed = (seed * 48_271) % 2_147_483_647) % count;
  const all = [...ASCII, ...OTHER, null, ABSENT];
  for (let round = 0; round < 2_000; round++) check(Array.from({ length: below(40) }, () => all[below(all.length)]));
});

test('halves of a letter stay apart, and each becomes the sign for what is no letter', () => {
  const [high, low] = ['\ud83d', '\ude00'];
  assert.deepEqual(texts(textColumn([high, low, `${high}${low}`])), ['\ufffd', '\ufffd', '😀']);
  // Joined, each of them would make a letter with the next.
  assert.deepEqual(texts(textColumn(new Array(9).fill(`${low}${high}`))), new Array(9).fill('\ufffd\ufffd'));
});

test('columns that are part of a larger buffer are read at their own place', () => {
  const data = new Uint8Array(Buffer.from('xxJoséyy')).subarray(2, 7);
  const values = { tag: 'utf8', val: { offsets: Uint32Array.of(0, 2, 5), data } };
  assert.deepEqual(texts({ ...textColumn(['', '']), values }), ['Jo', 'sé']);
});

test('what is no text is refused without its value', () => {
  const message = /^wanted a string, null or ABSENT, found a value of the type \w+$/;
  for (const value of [undefined, 7, 7n, true, ['a'], {}, Symbol('absent')]) {
    assert.throws(() => textColumn(['a', value]), { name: 'TypeError', message });
  }
  const binary = { ...textColumn(['a']), values: { tag: 'binary', val: textColumn(['a']).values.val } };
  assert.throws(() => texts(binary), { name: 'TypeError', message: 'wanted a column of the layout utf8, found binary' });
});
