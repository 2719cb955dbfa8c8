// What the programs of this directory share: running scenarios, and turning what a driver gives into JSON.

process.env.TZ = "UTC"; // both drivers make Dates of timestamps without a zone

const HANG_MS = 40_000;
const CLOSE_MS = 5_000;

// Runs the scenarios named on the command line, or all, and prints a line for each. `connect` makes a connection, with
// an `end()`; a scenario is `async (open) => outcome`, and whatever it opens is closed after it. A scenario that throws
// or hangs prints no line; the others still run, and the exit code is 1.
export async function run(connect, scenarios) {
  const names = process.argv.slice(2);
  for (const name of names.length ? names : Object.keys(scenarios)) {
    const opened = [];
    const open = async (settings) => {
      const connection = await connect(settings);
      opened.push(connection);
      return connection;
    };
    try {
      const outcome = await within(HANG_MS, scenarios[name](open));
      console.log(JSON.stringify({ scenario: name, outcome: plain(outcome) }));
    } catch (error) {
      console.error(`${name}:`, error);
      process.exitCode = 1;
    }
    await within(CLOSE_MS, Promise.allSettled(opened.map((connection) => connection.end()))).catch((error) => {
      console.error(`${name}: closing:`, error);
      process.exitCode = 1;
    });
  }
  process.exit();
}

async function within(limitMs, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not done within ${limitMs} ms`)), limitMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// What JSON has no form for, as text that tells it apart.
export function plain(value) {
  if (value === undefined) return "undefined";
  if (typeof value === "bigint") return `bigint ${value}`;
  if (typeof value === "number" && (!Number.isFinite(value) || Object.is(value, -0)))
    return `number ${value === 0 ? "-0" : value}`;
  if (value instanceof Date) return Number.isNaN(value.valueOf()) ? "date invalid" : `date ${value.toISOString()}`;
  if (value instanceof Uint8Array) return `bytes ${Buffer.from(value).toString("hex")}`;
  if (Array.isArray(value)) return Array.from(value, plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  }
  return value;
}

// An error as an outcome: a server's has a severity, a driver's own has not.
export function fault(error) {
  const { severity, code, message } = error;
  return severity ? { sqlstate: code, severity, message } : { driver: code ?? message };
}

// All that the server said in an error.
export function fields(error) {
  const { length: _, ...all } = { ...error, message: error.message }; // the message's length, and not the server's
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined));
}

// Whether a promise ends in a time that is long for what is done at once.
export async function happens(promise) {
  return within(CLOSE_MS, promise).then(
    () => true,
    () => false,
  );
}

// The error that a promise ends with; null where it has none.
export async function faultOf(promise) {
  try {
    await promise;
  } catch (error) {
    return fault(error);
  }
  return null;
}

// Settled promises, as `read` makes of each result or `fault` of each error.
export async function settled(promises, read = (result) => result) {
  const ends = await Promise.allSettled(promises);
  return ends.map((end) => (end.status === "fulfilled" ? read(end.value) : fault(end.reason)));
}

// Waits until `look` resolves to something true: for what another connection is about to show.
export async function until(look) {
  while (!(await look())) await new Promise((resolve) => setTimeout(resolve, 20));
}

export const range = (count) => Array.from({ length: count }, (_, index) => index);
