'use strict';
const assert = require('node:assert/strict');
const { setImmediate: turn } = require('node:timers/promises');
const { test } = require('node:test');
const { Encoder } = require('../lib/codec');
const { Runner } = require('../lib/runner');
const { StateTable } = require('../lib/state');
const { readOf, withPairs } = require('./pairs');

const LIMITS = { max_message: 1000, max_frame: 2000, max_depth: 32, max_batch: 4 };

/** A runner of one actor function, with a clock that is moved by hand; `said` is what it answered, in order. */
class Bench {
  said = [];
  flushes = 0;
  busy = [];
  waiting = 0;
  now = 0;
  timers = [];

  constructor(call, { outports = ['out'], store = {} } = {}) {
    this.table = new StateTable({
      fetch: (keys) => Object.fromEntries(keys.filter((key) => key in store).map((key) => [key, store[key]])),
      fetchKeys: () => [],
      now: () => this.now,
    });
    const write = (body) => {
      const encoder = new Encoder();
      if (typeof body === 'function') body(encoder);
      else encoder.value(body, 32);
      return withPairs(encoder.written());
    };
    this.runner = new Runner({
      session: { limits: LIMITS },
      replies: {
        respond: (id, result) => this.said.push({ id, result: write(result) }),
        fail: (id, code, message, data) => this.said.push({ id, code, message, data }),
        notify: (method, params) => this.said.push({ method, params: write(params) }),
        flush: () => { this.flushes += 1; },
      },
      watch: { setBusy: (activation) => this.busy.push(activation), setWaiting: (count) => { this.waiting = count; } },
      scheduler: {
        now: () => this.now,
        defer: setImmediate,
        setTimer: (callback, delay) => {
          const timer = { callback, due: this.now + delay };
          this.timers.push(timer);
          return timer;
        },
        clearTimer: (timer) => { this.timers = this.timers.filter((other) => other !== timer); },
      },
    });
    this.runner.use({
      call,
      outports,
      workspace: '/nowhere',
      surroundings: { table: this.table, config: { factor: 3 }, actorId: 'node-1', writeLog: () => {}, wallClock: () => 1234 },
    });
  }

  activate(number, { inputs = { in: ['integer', number] }, epoch = 1, id = number, ...rest } = {}) {
    const read = Object.fromEntries(Object.entries(inputs).map(([port, pair]) => [port, readOf(pair)]));
    this.runner.activate(id, { activation: number, attempt: 1, epoch, inputs: read, ...rest });
  }

  /** Moves the clock, and fires what is due. */
  pass(milliseconds) {
    this.now += milliseconds;
    const due = this.timers.filter((timer) => timer.due <= this.now);
    this.timers = this.timers.filter((timer) => !due.includes(timer));
    for (const timer of due) timer.callback();
  }

  async settle(turns = 10) {
    for (let i = 0; i < turns; i += 1) await turn();
    return this.said;
  }

  get outcomes() {
    return this.said.filter((answer) => 'id' in answer).map(({ id, code }) => [id, code ?? 'ok']);
  }
}

/** A promise with its ends in hand. */
function deferred() {
  let resolve;
  let reject;
  const promise = new Promise((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
}

test('a commit has outputs, state operations and the number of messages sent before', async () => {
  const bench = new Bench(async (context) => {
    context.send('progress', 'half way');
    context.sendOutput('progress', null);
    context.state.increment('n', context.getInput('in').unwrap());
    return { out: context.config.factor };
  });
  bench.activate(7);
  assert.deepEqual(await bench.settle(), [
    { method: 'send', params: { activation: 7, attempt: 1, index: 0, port: 'progress', message: ['string', 'half way'] } },
    { id: 7, result: { outputs: [['out', ['integer', 3]]], state: [['set', 'n', '7', null]], sent: 1 } },
  ]);
  assert.deepEqual(bench.busy, [7, 0]);
  assert.ok(bench.flushes > 0);
});

test('one at a time, in the order they came', async () => {
  const gates = [deferred(), deferred(), deferred()];
  const log = [];
  const bench = new Bench(async (context) => {
    const number = context.payload.get('in').unwrap();
    log.push(`start ${number}`);
    await gates[number - 1].promise;
    log.push(`end ${number}`);
  });
  for (const number of [1, 2, 3]) bench.activate(number);
  await bench.settle();
  assert.deepEqual([log, bench.waiting], [['start 1'], 2]);
  gates[1].resolve();
  gates[2].resolve();
  gates[0].resolve();
  await bench.settle();
  assert.deepEqual(log, ['start 1', 'end 1', 'start 2', 'end 2', 'start 3', 'end 3']);
  assert.deepEqual(bench.outcomes, [[1, 'ok'], [2, 'ok'], [3, 'ok']]);
});

test('a failure undoes its state and skips its epoch, not the next', async () => {
  const bench = new Bench((context) => {
    context.state.increment('n');
    if (context.getInput('in') == 2) throw new RangeError('two');
    return context.state.get('n');
  });
  for (const number of [1, 2, 3]) bench.activate(number);
  await bench.settle();
  bench.activate(4);
  bench.activate(2, { epoch: 2, id: 'again', inputs: { in: ['integer', 20] } });
  const said = await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, 'ok'], [2, -32021], [3, -32010], [4, -32010], ['again', 'ok']]);
  assert.deepEqual(said.at(-1).result, { outputs: [['out', ['integer', 2]]], state: [['set', 'n', '2', null]], sent: 0 });
  assert.equal(said[1].data.type, 'RangeError');
});

test('a result that cannot be sent is a failure; so is one that does not fit', async () => {
  const results = [{ out: { deep: [new Map()] } }, { out: 'x'.repeat(1500) }, { out: 1 }];
  const bench = new Bench((context) => {
    context.state.set('k', 1);
    return results[context.getInput('in') - 1];
  });
  for (const number of [1, 2, 3]) bench.activate(number, { epoch: number });
  const said = await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, -32022], [2, -32022], [3, 'ok']]);
  assert.match(said[0].data.message, /outputs\.out\.deep\[0\]: a Map/);
  assert.deepEqual(said[2].result.state, [['set', 'k', '1', null]]);
});

test('a rejected promise that nobody waits for fails its own activation, not the next', async () => {
  const bench = new Bench((context) => {
    if (context.getInput('in') == 1) Promise.reject(new Error('left behind'));
    return 1;
  });
  const onRejection = (error) => assert.equal(bench.runner.crash(error), true);
  const others = process.listeners('unhandledRejection');
  process.removeAllListeners('unhandledRejection');
  process.on('unhandledRejection', onRejection);
  try {
    bench.activate(1, { epoch: 1 });
    bench.activate(2, { epoch: 2 });
    await bench.settle();
  } finally {
    process.removeListener('unhandledRejection', onRejection);
    for (const other of others) process.on('unhandledRejection', other);
  }
  assert.deepEqual(bench.outcomes, [[1, -32021], [2, 'ok']]);
  assert.equal(bench.said[0].data.message, 'left behind');
});

test('an error that nobody caught fails an activation that is waiting for something else', async () => {
  const bench = new Bench(() => new Promise(() => {}));
  assert.equal(bench.runner.crash(new Error('early')), false);
  bench.activate(1);
  await bench.settle();
  assert.equal(bench.runner.crash(new Error('from a timer')), true);
  await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, -32021]]);
});

test('after a timeout the script can neither send, nor change state, nor answer late', async () => {
  const gate = deferred();
  const seen = [];
  const bench = new Bench(async (context) => {
    if (context.getInput('in') == 2) return context.state.get('n', 'nothing');
    const { state } = context;
    state.set('n', 1);
    await gate.promise;
    for (const late of [() => state.set('n', 2), () => context.state.set('n', 3), () => context.send('out', 4)]) {
      try {
        late();
      } catch (error) {
        seen.push(error.message);
      }
    }
    return 'too late';
  });
  bench.activate(1, { timeout_ms: 100 });
  await bench.settle();
  bench.pass(99);
  assert.deepEqual(bench.outcomes, []);
  bench.pass(1);
  bench.activate(2, { epoch: 2 });
  await bench.settle();
  gate.resolve();
  await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, -32801], [2, 'ok']]);
  assert.deepEqual(bench.said[1].result, { outputs: [['out', ['string', 'nothing']]], state: [], sent: 0 });
  assert.equal(seen.length, 3);
  for (const message of seen) assert.match(message, /activation is over/);
});

test('one that blocked over its time fails, though it came to an end', async () => {
  const bench = new Bench(() => {
    bench.now += 200;
    return 1;
  });
  bench.activate(1, { timeout_ms: 100 });
  await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, -32801]]);
});

test('a timeout begins when the script is called, a deadline when the request arrives', async () => {
  const gates = [deferred(), deferred(), deferred()];
  const bench = new Bench((context) => gates[context.getInput('in') - 1].promise);
  bench.activate(1, { timeout_ms: 1000 });
  bench.activate(2, { timeout_ms: 100, epoch: 2 });
  bench.activate(3, { deadline_ms: 100, epoch: 3 });
  await bench.settle();
  bench.pass(150);
  gates[0].resolve();
  await bench.settle();
  bench.pass(99);
  assert.deepEqual(bench.outcomes, [[1, 'ok']]);
  gates[1].resolve();
  await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, 'ok'], [2, 'ok'], [3, -32801]]);
});

test('cancel stops the one that runs at once, and one that waits in its turn', async () => {
  const gate = deferred();
  const started = [];
  const bench = new Bench((context) => {
    started.push(context.getInput('in').unwrap());
    return started.length === 1 ? gate.promise : 1;
  });
  bench.activate(1, { epoch: 1 });
  bench.activate(2, { epoch: 2, id: 'two' });
  bench.activate(3, { epoch: 3 });
  await bench.settle();
  bench.runner.cancel('two');
  bench.runner.cancel(2);
  bench.runner.cancel('never asked');
  await bench.settle();
  assert.deepEqual(bench.outcomes, []);
  bench.runner.cancel(1);
  await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, -32800], ['two', -32800], [3, 'ok']]);
  assert.deepEqual(started, [1, 3]);
});

test('stop lets the running one finish and skips the others', async () => {
  const gate = deferred();
  const bench = new Bench(() => gate.promise);
  let stopped = 0;
  bench.activate(1);
  bench.activate(2);
  await bench.settle();
  bench.runner.stop(1000, () => { stopped += 1; });
  await bench.settle();
  assert.equal(stopped, 0);
  gate.resolve(5);
  await bench.settle();
  assert.deepEqual(bench.outcomes, [[1, 'ok'], [2, -32010]]);
  assert.equal(stopped, 1);
});

test('stop gives up on one that takes longer than the grace', async () => {
  const bench = new Bench(() => new Promise(() => {}));
  let stopped = 0;
  bench.activate(1);
  await bench.settle();
  bench.runner.stop(50, () => { stopped += 1; });
  bench.pass(50);
  await bench.settle();
  assert.deepEqual([bench.outcomes, stopped], [[[1, -32800]], 1]);
});

test('stop without work stops', async () => {
  const bench = new Bench(() => 1);
  let stopped = 0;
  bench.runner.stop(1000, () => { stopped += 1; });
  await bench.settle();
  assert.equal(stopped, 1);
});

test('what is no activation is refused before it waits', async () => {
  const bench = new Bench(() => 1);
  for (const params of [
    {}, { activation: 0 }, { activation: 1.5 }, { activation: 1, attempt: '1' }, { activation: 1, attempt: 1 },
    { activation: 1, attempt: 1, epoch: 1 }, { activation: 1, attempt: 1, epoch: 1, inputs: [] },
    { activation: 1, attempt: 1, epoch: 1, inputs: { in: { type: '', value: 'no message' } } },
    { activation: 1, attempt: 1, epoch: 1, inputs: { in: { type: 'error', value: 'no array' } } },
    { activation: 1, attempt: 1, epoch: 1, inputs: {}, timeout_ms: 'soon' },
  ]) {
    bench.runner.activate('x', params);
  }
  await bench.settle();
  assert.deepEqual(new Set(bench.outcomes.map(String)), new Set(['x,-32602']));
  assert.equal(bench.outcomes.length, 10);
});

test('results go where the ports say, of whatever the function is', async () => {
  const results = [undefined, null, 5, { a: 1, b: null }, { then: 5 }];
  const bench = new Bench((context) => results[context.getInput('in') - 1], { outports: null });
  results.forEach((_, index) => bench.activate(index + 1));
  const said = await bench.settle(20);
  assert.deepEqual(said.map(({ result }) => result.outputs), [
    [], [], [['output', ['integer', 5]]], [['a', ['integer', 1]]], [['then', ['integer', 5]]],
  ]);
});
