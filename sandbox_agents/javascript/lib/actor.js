'use strict';
/**
 * `actor`: marks a function or a class as an actor and notes what it declares.
 *
 * It takes every form that Reflow scripts use, and decides nothing about the network: the supervisor reads the same
 * declaration from the source without running it, and compares.
 */

/** @type {WeakMap<object, Record<string, any>>} what each marked function, class or object declares */
const declarations = new WeakMap();

/**
 * `actor({name, inports, outports, …})` gives a decorator; `actor({…}, target)` and a bare `actor(target)` mark it at
 * once. All members are optional: name, inports, outports, awaitAllInports, version, description, tags, category,
 * configSchema, memory, timeout, state, stateBackend.
 *
 * @param {Record<string, any> | string | Function} [declaration]
 * @param {any} [target]
 * @returns {any} the decorator, or the target itself
 */
function actor(declaration = {}, target = undefined) {
  if (typeof declaration === 'function') return mark(declaration, {});
  const members = typeof declaration === 'string' ? { name: declaration } : declaration;
  if (typeof members !== 'object' || members === null) {
    throw new TypeError(`actor() takes an object, a name or a function, not ${members === null ? 'null' : typeof members}`);
  }
  if (target !== undefined) return mark(target, members);
  return (/** @type {any} */ decorated) => mark(decorated, members);
}

/** @param {any} target @param {Record<string, any>} declaration */
function mark(target, declaration) {
  if (typeof target !== 'function' && typeof target?.run !== 'function') {
    throw new TypeError('actor() marks a function, a class, or an object with a run method');
  }
  declarations.set(target, { ...declaration });
  return target;
}

/** @param {any} target @returns {Record<string, any> | undefined} what it declared with `actor` */
function declarationOf(target) {
  return declarations.get(target);
}

/**
 * The names in a list of port names or declarations, or in an object of declarations by name.
 * @param {any} ports
 * @param {string} side
 * @returns {string[] | null} null where nothing is declared
 */
function portNames(ports, side) {
  if (ports === undefined || ports === null) return null;
  if (typeof ports === 'string') return [ports];
  const list = Array.isArray(ports) ? ports : Object.keys(Object(ports));
  return list.map((port) => {
    const name = typeof port === 'object' && port !== null ? port.name : port;
    if (typeof name !== 'string' || name === '') {
      throw new TypeError(`${side}: a port is a name or an object with a "name", not ${JSON.stringify(port)}`);
    }
    return name;
  });
}

module.exports = { actor, declarationOf, portNames };
