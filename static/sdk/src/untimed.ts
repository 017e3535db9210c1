// Fetch without the runtime's own limits on silence: code may compute for an hour before it prints a line.
//
// Node's fetch gives up after five minutes without a byte, Bun's as well; browsers and Deno wait. Both say how to turn
// that off in a request's settings that the types of fetch do not know and other runtimes ignore. Deadlines are the
// caller's: a signal, or `timeoutSeconds` of a run.

interface Dispatcher {
  dispatch(options: object, handler: unknown): boolean;
}

// Where undici, which is Node's fetch, keeps the dispatcher that it uses unless a request names one.
const NODES_OWN = Symbol.for("undici.globalDispatcher.1");

const patient: Dispatcher = {
  dispatch: (options, handler) => {
    const own = (globalThis as unknown as Record<symbol, Dispatcher>)[NODES_OWN] as Dispatcher;
    return own.dispatch({ ...options, headersTimeout: 0, bodyTimeout: 0 }, handler);
  },
};

/** What to add to a request's settings. */
export function untimed(): RequestInit {
  // Node loads its fetch, and with it the dispatcher, when one of its classes is first named.
  void globalThis.Headers;
  const settings = { timeout: false, ...(NODES_OWN in globalThis ? { dispatcher: patient } : {}) };
  return settings as RequestInit;
}
