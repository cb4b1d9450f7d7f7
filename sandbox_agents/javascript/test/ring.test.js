'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { MessageChannel } = require('node:worker_threads');
const { Reader, RingReader, RingWriter, Word, allocate } = require('../lib/ring');

function ringPair(t) {
  const memory = allocate();
  const { port1, port2 } = new MessageChannel();
  t.after(() => port1.close());
  const wakes = [];
  const writer = new RingWriter(memory, port1, () => wakes.push(Atomics.load(memory.header, Word.READER)));
  return { memory, writer, reader: new RingReader(memory, port2), wakes };
}

const message = (number, length) => new Uint8Array(length).fill(number & 0xff);

test('messages come out as they went in, in order', (t) => {
  const { writer, reader } = ringPair(t);
  const sent = [message(1, 0), message(2, 1), message(3, 7), message(4, 1000)];
  for (const bytes of sent) writer.write(bytes);
  assert.deepEqual(reader.take(10, 10000), sent);
  assert.equal(reader.isEmpty, true);
  assert.equal(reader.position, writer.position);
});

test('what is taken at once is bounded in number and size', (t) => {
  const { writer, reader } = ringPair(t);
  for (let i = 0; i < 5; i += 1) writer.write(message(i, 100));
  assert.equal(reader.take(2, 10000).length, 2);
  assert.equal(reader.take(10, 250).length, 2);
  assert.equal(reader.take(10, 1).length, 1, 'a single one may be larger');
  assert.equal(reader.take(10, 10000).length, 0);
});

test('a thousand laps lose and change nothing', (t) => {
  const { writer, reader } = ringPair(t);
  let seed = 3;
  const random = (below) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % below;
  const expected = [];
  let taken = 0;
  for (let i = 0; i < 20000; i += 1) {
    const bytes = message(i, random(12000));
    writer.write(bytes);
    expected.push([bytes[0], bytes.length]);
    if (expected.length > 12) {
      for (const found of reader.take(1 + random(12), 1e6)) {
        assert.deepEqual([found[0], found.length], expected.shift());
        assert.equal(found.at(-1), found[0]);
        taken += 1;
      }
    }
  }
  assert.ok(taken > 19000);
});

test('large messages keep their place', (t) => {
  const { memory, writer, reader } = ringPair(t);
  writer.write(message(1, 10));
  writer.write(message(2, 500_000));
  writer.write(message(3, 10));
  assert.ok(Atomics.load(memory.header, Word.LARGE_BYTES) === 500_000);
  const taken = [reader.take(10, 1e9), reader.take(10, 1e9), reader.take(10, 1e9)];
  assert.deepEqual(taken.map((batch) => batch.map((bytes) => [bytes[0], bytes.length])), [[[1, 10]], [[2, 500_000]], [[3, 10]]]);
  assert.equal(Atomics.load(memory.header, Word.LARGE_BYTES), 0);
});

test('only a reader that sleeps is woken by a message; one that lingers, by a flush', (t) => {
  const { memory, writer, wakes } = ringPair(t);
  writer.write(message(1, 1));
  writer.flush();
  assert.equal(wakes.length, 0, 'it is awake');
  Atomics.store(memory.header, Word.READER, Reader.LINGERING);
  writer.write(message(1, 1));
  assert.equal(wakes.length, 0);
  writer.flush();
  assert.equal(wakes.length, 1);
  Atomics.store(memory.header, Word.READER, Reader.ASLEEP);
  writer.write(message(1, 1));
  writer.write(message(1, 1));
  assert.deepEqual(wakes, [Reader.AWAKE, Reader.AWAKE], 'once is enough');
});

test('writing to a closed link neither blocks nor fails', (t) => {
  const { memory, writer, reader } = ringPair(t);
  Atomics.store(memory.header, Word.CLOSED, 1);
  for (let i = 0; i < 100; i += 1) writer.write(message(1, 30_000));
  writer.write(message(1, 1_000_000));
  assert.equal(reader.isEmpty, true);
});
