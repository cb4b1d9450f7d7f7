'use strict';
/**
 * A network between two ends of one session, that does to it what a plan says: tests/wire/network.py in JavaScript. It
 * leaves the same trace of the same plan, by which the two implementations are compared: `node network.js` reads plans
 * as JSON from its standard input, and writes the traces.
 */

const assert = require('node:assert/strict');
const { Arrival, Replay } = require('../lib/replay');

const STEPS = [
  'say 0', 'say 1', 'send 0', 'send 1', 'take 0', 'take 1', 'drop', 'repeat', 'swap', 'cut', 'cut 0', 'cut 1',
  'connect', 'insist 0', 'insist 1', 'pack',
];
const SMALL = { maxFrames: 6, maxBytes: 200, ackFrames: 3, ackBytes: 60 };
const MAX_SIZE = 50;

/** An end whose frames are one message each: a number, and a size. */
class Frames {
  replay = new Replay(SMALL);
  said = 0;
  heard = [];
  waiting = [];

  say(argument) {
    this.said += 1;
    this.waiting.push({ number: this.said, size: (argument % MAX_SIZE) + 1 });
  }

  #keep() {
    if (this.waiting.length === 0 || !this.replay.hasRoom) return false;
    const message = this.waiting.shift();
    this.replay.keep(message, message.size);
    return true;
  }

  pack() {
    while (this.#keep());
  }

  send() {
    const { replay } = this;
    const acknowledged = replay.received;
    if (replay.hasNext || this.#keep()) {
      const { number, frame } = replay.next();
      return { number, acknowledged, message: frame };
    }
    if (!replay.isDue) return null;
    replay.told();
    return { number: 0, acknowledged, message: null };
  }

  take({ number, acknowledged, message }) {
    const arrival = this.replay.arrived(number, acknowledged, message === null ? 0 : message.size);
    if (arrival === Arrival.NEW) this.heard.push(message.number);
    return arrival;
  }
}

/** The agent is end 0: it connects. `wires[n]` leads to end n. */
class Network {
  ends = [new Frames(), new Frames()];
  wires = [[], []];
  up = [true, true];
  trace = [];

  play(plan) {
    for (const number of plan) {
      this.step(STEPS[number % STEPS.length], Math.floor(number / STEPS.length));
      this.check();
    }
    this.heal();
  }

  step(step, argument) {
    const [what, which] = step.split(' ');
    const n = which === undefined ? argument % 2 : Number(which);
    switch (what) {
      case 'say': this.ends[n].say(argument); break;
      case 'send': this.send(n); break;
      case 'take': this.take(n); break;
      case 'cut': this.cut(...(which === undefined ? [0, 1] : [n])); break;
      case 'connect': this.connect(); break;
      case 'insist': this.ends[n].replay.insist(); break;
      case 'pack': this.ends[n].pack(); break;
      default: this.disturb(what, this.wires[n]);
    }
  }

  note(...what) {
    this.trace.push(what.map((part) => (part === true ? 'True' : part === false ? 'False' : String(part))).join(' '));
  }

  send(n) {
    if (!this.up[n]) return false;
    const frame = this.ends[n].send();
    if (frame === null) return false;
    this.note('send', n, frame.number, frame.acknowledged);
    this.wires[1 - n].push(frame);
    return true;
  }

  take(n) {
    const frame = this.wires[n].shift();
    if (frame === undefined) return false;
    if ('hello' in frame) {
      this.welcome(frame.hello);
    } else if ('welcome' in frame) {
      this.resumed(0, frame.welcome);
    } else if (this.up[n]) {
      const arrival = this.ends[n].take(frame);
      this.note('take', n, frame.number, frame.acknowledged, arrival);
      if (arrival === Arrival.GAP) this.cut(n);
    }
    return true;
  }

  cut(...which) {
    for (const n of which) {
      this.up[n] = false;
      this.wires[n].length = 0;
    }
    this.note('cut', ...this.up);
  }

  connect() {
    if (this.up[0]) return;
    for (const wire of this.wires) wire.length = 0;
    const { received } = this.ends[0].replay;
    this.wires[1].push({ hello: received });
    this.note('hello', received);
  }

  welcome(received) {
    this.wires[0].length = 0;
    this.resumed(1, received);
    this.wires[0].push({ welcome: this.ends[1].replay.received });
  }

  resumed(n, received) {
    const { replay } = this.ends[n];
    replay.resume(received);
    this.up[n] = true;
    this.note('resumed', n, received, replay.kept);
  }

  disturb(how, wire) {
    const first = wire.findIndex((frame) => 'number' in frame);
    const frames = wire.filter((frame) => 'number' in frame);
    if (frames.length < (how === 'swap' ? 2 : 1)) return;
    if (how === 'drop') wire.splice(first, 1);
    else if (how === 'repeat') wire.splice(first, 0, wire[first]);
    else [wire[first], wire[first + 1]] = [wire[first + 1], wire[first]];
    this.note(how, first);
  }

  check() {
    for (const [end, other] of [this.ends, this.ends.toReversed()]) {
      assert.ok(end.replay.kept <= SMALL.maxFrames);
      assert.ok(end.replay.keptBytes < SMALL.maxBytes + MAX_SIZE + 1);
      assert.ok(end.replay.acknowledged <= other.replay.received);
    }
  }

  heal() {
    this.cut(0, 1);
    this.connect();
    for (let i = 0; i < 1000; i += 1) {
      for (const { replay } of this.ends) replay.insist();
      const moved = [this.take(0), this.take(1), this.send(0), this.send(1)];
      this.check();
      if (!moved.includes(true) && this.ends.every(({ replay }) => replay.kept === 0)) return;
    }
    assert.fail('it does not come to rest');
  }
}

/** Plays a plan; everything must have come once and in order. @param {number[]} plan @returns {Network} */
function play(plan) {
  const network = new Network();
  network.play(plan);
  for (const [end, other] of [network.ends, network.ends.toReversed()]) {
    assert.deepEqual(end.heard, Array.from({ length: other.said }, (_, i) => i + 1), 'each message once, and in order');
  }
  return network;
}

if (require.main === module) {
  const plans = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
  process.stdout.write(JSON.stringify(plans.map((plan) => play(plan).trace)));
}

module.exports = { STEPS, play };
