'use strict';
/**
 * Where in a value something is wrong, for error messages.
 *
 * Looked for only when something was refused, so that encoding need not keep track of where it is.
 */

const MAX_STEPS = 64;

/**
 * @param {any} value
 * @param {string} complaint about something in it
 * @param {(member: any) => string | null} complaintAbout what is said about a part of it; null when nothing
 * @returns {string} for example `.items[3].name`; '' where it is the value itself
 */
function placeOf(value, complaint, complaintAbout) {
  let place = '';
  for (let steps = 0; steps < MAX_STEPS; steps += 1) {
    const found = membersOf(value).find(([, member]) => complaintAbout(member) === complaint);
    if (found === undefined) return place;
    place += found[0];
    value = found[1];
  }
  // It contains itself: no place is the right one.
  return '';
}

/** @param {any} value @returns {[string, any][]} */
function membersOf(value) {
  if (Array.isArray(value)) return value.map((member, index) => [`[${index}]`, member]);
  const prototype = typeof value === 'object' && value !== null ? Object.getPrototypeOf(value) : undefined;
  if (prototype !== Object.prototype && prototype !== null) return [];
  return Object.entries(value).map(([key, member]) => [`.${key}`, member]);
}

module.exports = { placeOf };
