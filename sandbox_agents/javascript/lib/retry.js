'use strict';
/** When an agent whose connection was cut tries to come back. */

const FIRST_MS = 10;
const LONGEST_MS = 1000;

/**
 * Milliseconds to wait before the attempt that follows so many. It doubles; `jitter`, of 0 to 1, takes up to a half
 * off, so that those who were cut together do not come together.
 * @param {number} attempt @param {number} jitter @returns {number}
 */
function retryDelay(attempt, jitter) {
  return Math.min(FIRST_MS * 2 ** Math.min(attempt, 16), LONGEST_MS) * (1 - jitter / 2);
}

module.exports = { retryDelay };
