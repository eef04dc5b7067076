// What the page knows.

export const at = {
  rights: [],
  versions: null, // { body, tag }
  shown: null, // { body, tag } of the rollout that is shown
  history: [],
  wanted: 20,
  events: [],
  streaming: false,
  asOf: null, // when what is shown was true
  dirty: true, // whether there was an event since
};

export const dryRuns = new Map(); // id → what was uploaded, and the tag of what was live then

export function forget() {
  Object.assign(at, { rights: [], versions: null, shown: null, history: [], events: [], streaming: false, asOf: null, dirty: true });
  dryRuns.clear();
}

// Which rollout is shown: what the address names, else what is in progress or live, else the newest.
export function chosen() {
  const named = /^#rollout=([\w-]+)$/.exec(location.hash);
  if (named) return named[1];
  return at.versions?.body.rollout?.id ?? at.history.find((one) => one.id)?.id ?? null;
}
