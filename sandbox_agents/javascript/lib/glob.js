'use strict';
/** Glob patterns over state keys, as Redis has them: `*`, `?`, `[a-z]`, `[^a-z]`, and a backslash before a literal. */

const ANYTHING = Symbol('*');

/**
 * @param {string} pattern
 * @returns {(key: string) => boolean} whether a key matches the whole pattern
 */
function globMatcher(pattern) {
  const tokens = parse([...pattern]);
  return (key) => matches(tokens, [...key]);
}

/** @typedef {typeof ANYTHING | ((character: string) => boolean)} Token */

/** @param {string[]} pattern @returns {Token[]} */
function parse(pattern) {
  const tokens = [];
  let at = 0;
  while (at < pattern.length) {
    const character = pattern[at];
    at += 1;
    if (character === '*') {
      tokens.push(ANYTHING);
    } else if (character === '?') {
      tokens.push(() => true);
    } else if (character === '[') {
      const [token, next] = characterClass(pattern, at);
      tokens.push(token);
      at = next;
    } else if (character === '\\' && at < pattern.length) {
      const literal = pattern[at];
      tokens.push((other) => other === literal);
      at += 1;
    } else {
      tokens.push((other) => other === character);
    }
  }
  return tokens;
}

/**
 * The class that starts behind its bracket. An unclosed one reaches to the end of the pattern, as in Redis.
 * @param {string[]} pattern @param {number} start @returns {[Token, number]} and where it goes on
 */
function characterClass(pattern, start) {
  let at = start;
  const negated = pattern[at] === '^';
  if (negated) at += 1;
  /** @type {[string, string][]} */
  const ranges = [];
  while (at < pattern.length && pattern[at] !== ']') {
    if (pattern[at] === '\\' && at + 1 < pattern.length) {
      ranges.push([pattern[at + 1], pattern[at + 1]]);
      at += 2;
    } else if (pattern[at + 1] === '-' && at + 2 < pattern.length) {
      const [low, high] = [pattern[at], pattern[at + 2]].sort();
      ranges.push([low, high]);
      at += 3;
    } else {
      ranges.push([pattern[at], pattern[at]]);
      at += 1;
    }
  }
  const token = (/** @type {string} */ other) => ranges.some(([low, high]) => low <= other && other <= high) !== negated;
  return [token, at + 1];
}

/**
 * Going back only to the last star is enough, and keeps the time within key times pattern.
 * @param {Token[]} tokens @param {string[]} key
 */
function matches(tokens, key) {
  let t = 0;
  let k = 0;
  let star = -1;
  let resume = 0;
  while (k < key.length) {
    const token = tokens[t];
    if (token === ANYTHING) {
      star = t;
      resume = k;
      t += 1;
    } else if (typeof token === 'function' && token(key[k])) {
      t += 1;
      k += 1;
    } else if (star >= 0) {
      resume += 1;
      k = resume;
      t = star + 1;
    } else {
      return false;
    }
  }
  return tokens.slice(t).every((token) => token === ANYTHING);
}

module.exports = { globMatcher };
