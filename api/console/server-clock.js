// The server's time: what it tells is measured by its clock, and this machine's may go wrong.

/** Answers tell whole seconds; a smaller difference is taken for none. */
const SKEW_MS_LEAST = 2_000;

let skewMs = 0;

/** Learns from the `Date` of an answer. */
export function learnTime(header) {
  const said = Date.parse(header ?? "");
  if (Number.isNaN(said)) return;
  const difference = said - Date.now();
  skewMs = Math.abs(difference) < SKEW_MS_LEAST ? 0 : difference;
}

/** The server's time, microseconds since 1970. */
export function nowUs() {
  return (Date.now() + skewMs) * 1000;
}
