// How far the fuse of an alias has burnt.

/** How much of it is left, from 0 to 1: of messages or of time, whichever is less. */
export function remaining({ max_usage: all, usage_left: left, valid_from: from, valid_until: until, currentDate: now }) {
  const uses = all ? left / all : 1;
  const [start, stop, present] = [from, until, now].map((date) => Date.parse(date));
  const time = until ? (stop - Math.max(start, present)) / (stop - start) : 1;
  return Math.max(0, Math.min(uses, time));
}
