'use strict';
/**
 * Turns a script's source into something that can be called: compiles it as a CommonJS module, runs it once, and finds
 * the actor in it.
 *
 * It decides what is in a script's scope (Node's module arguments, and `__reflow_decorate__`, which the supervisor's
 * source transform puts in the place of a decorator), where `require` looks, and which function is the actor. What the
 * declaration means is the supervisor's business.
 */

const Module = require('node:module');
const path = require('node:path');
const vm = require('node:vm');
const { declarationOf, portNames } = require('./actor');

const SDK = path.join(__dirname, 'reflow.js');
const SCOPE = ['exports', 'require', 'module', '__filename', '__dirname', '__reflow_decorate__', '__reflow_expose__'];
const USUAL_NAMES = ['process', 'main', 'run'];
/** Of a class, the first that it has. */
const METHODS = USUAL_NAMES.toReversed();
const CLASS = /^class\b/;
const IDENTIFIER = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u;
const ES_MODULE = /import statement outside a module|Unexpected token 'export'|Cannot use 'import\.meta'/;
const TOP_LEVEL_AWAIT = /^await is only valid/;

/** The script cannot be loaded. `cause` is what it threw, where it threw. */
class LoadError extends Error {
  /** @param {string} message @param {unknown} [cause] */
  constructor(message, cause) {
    super(message, { cause });
    this.name = 'LoadError';
  }
}

/**
 * @typedef {object} LoadedActor
 * @property {(context: any) => any} call
 * @property {{name: string, inports: string[] | null, outports: string[] | null, await_all_inports: boolean}} declared
 */

/**
 * @param {object} options
 * @param {string} options.source
 * @param {string} options.file relative to the workspace
 * @param {string} options.workspace absolute
 * @param {string} options.name the export or binding that is the actor; '' looks for one
 * @param {string} options.component
 * @param {Record<string, any>} options.config for classes, as the argument of their constructor
 * @param {number | null} [options.timeout] milliseconds that the script's top level may take
 * @returns {LoadedActor}
 * @throws {any} what the script throws, a SyntaxError, or a LoadError
 */
function load({ source, file, workspace, name, component, config, timeout = null }) {
  const absolute = path.join(workspace, file);
  const wanted = name === '' ? USUAL_NAMES : [name];
  const script = new ScriptModule(absolute);
  provideSdk(workspace, path.dirname(absolute));
  const run = compile(source, wanted, absolute);
  withTimeout(() => script.run(run), timeout);
  const found = script.find(name, component);
  return bind(found.target, found.declaration, name, component, config);
}

/** One script while it is loaded: its module object, and what it says of itself while it runs. */
class ScriptModule {
  /** @param {string} file absolute */
  constructor(file) {
    this.file = file;
    const module = new Module(file, null);
    module.filename = file;
    module.paths = /** @type {any} */ (Module)._nodeModulePaths(path.dirname(file));
    module.require = Module.createRequire(file);
    /** @type {any} */
    this.module = module;
    /** @type {{decorator: any, thunk: () => any, name: string}[]} */
    this.decorated = [];
    /** @type {(name: string) => any} gives the value of a binding at the script's top level */
    this.binding = () => undefined;
    /** @type {Map<string, any>} by the name that the transform saw */
    this.named = new Map();
  }

  /** @param {Function} compiled */
  run(compiled) {
    const { module } = this;
    const decorate = (decorator, thunk, name) => this.decorated.push({ decorator, thunk, name });
    const expose = (binding) => {
      this.binding = binding;
    };
    compiled.call(module.exports, module.exports, module.require, module, this.file, path.dirname(this.file), decorate, expose);
    module.loaded = true;
    // Only now: a decorator stands in front of what it decorates, and a class has no value before its line.
    for (const { decorator, thunk, name } of this.decorated) this.named.set(name, decorator(thunk()) ?? thunk());
  }

  /** @param {string} name @param {string} component @returns {{target: any, declaration: Record<string, any>}} */
  find(name, component) {
    const target = this.#target(name, component);
    const declaration = declarationOf(target) ?? this.module.exports.actorMetadata ?? this.binding('actorMetadata') ?? {};
    return { target, declaration };
  }

  /** @param {string} name @param {string} component */
  #target(name, component) {
    const { exports } = this.module;
    if (name !== '') {
      const candidates = [this.named.get(name), exports?.[name], this.binding(name), isActor(exports) ? exports : undefined];
      const found = candidates.find(isActor);
      if (found !== undefined) return found;
      throw new LoadError(`the script has no function or class ${JSON.stringify(name)}; ${this.#offers()}`);
    }
    if (isActor(exports)) return exports;
    for (const usual of USUAL_NAMES) {
      const found = [exports?.[usual], this.binding(usual)].find(isActor);
      if (found !== undefined) return found;
    }
    const all = [...new Set([...this.named.values(), ...Object.values(Object(exports)).filter(isActor)])];
    const matching = all.filter((target) => (declarationOf(target)?.name ?? target.name) === component);
    const [only, ...others] = matching.length > 0 ? matching : all;
    if (only !== undefined && others.length === 0) return only;
    throw new LoadError(`which function is the actor? ${this.#offers()}; export one, or put actor({...}) on it`);
  }

  #offers() {
    const names = [...this.named.keys(), ...Object.keys(Object(this.module.exports))];
    return names.length === 0 ? 'it exports nothing' : `it has ${[...new Set(names)].slice(0, 20).join(', ')}`;
  }
}

/** @param {any} value */
function isActor(value) {
  return typeof value === 'function' || typeof value?.run === 'function';
}

/**
 * @param {string} source
 * @param {string[]} wanted bindings to look at after the script has run
 * @param {string} file absolute, as for every module, so that `import()` finds what is beside it
 */
function compile(source, wanted, file) {
  const text = source.replace(/^\ufeff/, '').replace(/^#!/, '//');
  const compiled = (/** @type {string} */ body) =>
    vm.compileFunction(body, SCOPE, {
      filename: file,
      importModuleDynamically: vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    });
  try {
    return compiled(text + exposing([...wanted, 'actorMetadata']));
  } catch {
    try {
      // Once more as it was written: a complaint about a brace that is missing must not show the line added to it.
      return compiled(text);
    } catch (error) {
      throw explained(error);
    }
  }
}

/**
 * A last line that lets the loader see bindings which the script does not export. It names each of them, so that it
 * costs the script nothing, as an `eval` in its scope would.
 * @param {string[]} names
 */
function exposing(names) {
  const cases = names
    .filter(isBindable)
    .map((name) => `case ${JSON.stringify(name)}: return typeof ${name} === 'undefined' ? undefined : ${name};`);
  return `\n;__reflow_expose__((name) => { switch (name) { ${cases.join(' ')} } });`;
}

/** @param {string} name whether it can be the name of a variable, and is no reserved word */
function isBindable(name) {
  if (!IDENTIFIER.test(name)) return false;
  try {
    vm.compileFunction("'use strict';", [name]);
    return true;
  } catch {
    return false;
  }
}

/** @param {any} error @returns {any} with what to do about it, where the script is written for another module system */
function explained(error) {
  if (!(error instanceof SyntaxError)) return error;
  if (ES_MODULE.test(error.message)) {
    error.message += ": actor scripts are CommonJS modules; use const {…} = require('…') and module.exports";
  } else if (TOP_LEVEL_AWAIT.test(error.message)) {
    error.message += ': top-level await is not supported; await inside the actor function';
  }
  return error;
}

/**
 * Makes `require('reflow')` give the SDK in the script and in the modules that it requires, and bare names find helper
 * modules beside the script and at the workspace's top.
 * @param {string} workspace
 * @param {string} beside
 */
function provideSdk(workspace, beside) {
  const internals = /** @type {any} */ (Module);
  const resolve = internals._resolveFilename;
  internals._resolveFilename = function resolveFilename(request, ...rest) {
    if (request === 'reflow') return SDK;
    try {
      return resolve.call(this, request, ...rest);
    } catch (error) {
      if (error.code !== 'MODULE_NOT_FOUND' || path.isAbsolute(request) || request.startsWith('.')) throw error;
      for (const directory of [beside, workspace]) {
        try {
          return resolve.call(this, path.join(directory, request), ...rest);
        } catch {
          // The first error names the module as the script wrote it.
        }
      }
      throw error;
    }
  };
}

/**
 * Runs something that never yields, for so long at most.
 * @param {() => void} run
 * @param {number | null} timeout
 */
function withTimeout(run, timeout) {
  if (timeout === null) {
    run();
    return;
  }
  // Node interrupts scripts only, and what they call; so the call is made by a script.
  const hidden = Symbol.for('reflow.load');
  Object.defineProperty(globalThis, hidden, { value: run, configurable: true });
  try {
    vm.runInThisContext("globalThis[Symbol.for('reflow.load')]()", { timeout: Math.max(Math.ceil(timeout), 1) });
  } finally {
    delete globalThis[hidden];
  }
}

/**
 * @param {any} target
 * @param {Record<string, any>} declaration
 * @param {string} name
 * @param {string} component
 * @param {Record<string, any>} config
 * @returns {LoadedActor}
 */
function bind(target, declaration, name, component, config) {
  const instance = instanceOf(target, config);
  const member = (/** @type {string[]} */ ...keys) => {
    for (const source of [declaration, instance ?? {}, target]) {
      for (const key of keys) if (source[key] !== undefined && source[key] !== null) return source[key];
    }
    return null;
  };
  const names = [declaration.name, declaration.component, instance?.name, typeof target === 'function' ? target.name : '', name, component];
  return {
    call: instance === null ? target : methodOf(target, instance),
    declared: {
      name: names.find((candidate) => typeof candidate === 'string' && candidate !== '' && candidate !== 'default') ?? '',
      inports: portNames(member('inports'), 'inports'),
      outports: portNames(member('outports'), 'outports'),
      await_all_inports: Boolean(member('awaitAllInports', 'await_all_inports')),
    },
  };
}

/** @param {any} target @param {Record<string, any>} config @returns {any} null of a function that is no class */
function instanceOf(target, config) {
  if (typeof target !== 'function') return target;
  const hasMethod = METHODS.some((method) => typeof target.prototype?.[method] === 'function');
  if (!hasMethod && !CLASS.test(Function.prototype.toString.call(target))) return null;
  const instance = new target(config);
  // What the constructor did not set itself; older classes read both from `this`.
  if (instance.config === undefined) instance.config = config;
  return instance;
}

/** @param {any} target @param {any} instance @returns {(context: any) => any} */
function methodOf(target, instance) {
  const method = METHODS.find((candidate) => typeof instance[candidate] === 'function');
  if (method === undefined) throw new LoadError(`class ${target.name} has no method run(context)`);
  return (context) => instance[method](context);
}

module.exports = { LoadError, load };
