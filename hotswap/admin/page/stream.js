// Server-sent events by fetch: an EventSource can't send a token.
// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation

// Return what takes bytes and gives events. Its `lastId` is what to send when the connection is made again.
export function parser(lastId = "") {
  const decoder = new TextDecoder();
  let rest = "";
  let data = [];
  let event = "";
  const self = { lastId, retry: null, feed };

  function feed(bytes) {
    rest += decoder.decode(bytes, { stream: true });
    const events = [];
    for (;;) {
      const found = /\r\n|\n|\r(?!$)/.exec(rest); // a \r at the end may be half of \r\n
      if (found === null) return events;
      const one = take(rest.slice(0, found.index));
      rest = rest.slice(found.index + found[0].length);
      if (one) events.push(one);
    }
  }

  function take(line) {
    if (line === "") {
      const one = data.length ? { event: event || "message", data: data.join("\n"), id: self.lastId } : null;
      data = [];
      event = "";
      return one;
    }
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "data") data.push(value);
    else if (field === "event") event = value;
    else if (field === "id" && !value.includes("\0")) self.lastId = value;
    else if (field === "retry" && /^\d+$/.test(value)) self.retry = Number(value);
    return null;
  }

  return self;
}

// Follow events until `stop()`, over lost connections.
//
// open(lastId, signal): begins, and returns a Response, or throws.
// heard(): something came, if only a comment. told(event): an event did. state("live" | "lost", error).
// silence: milliseconds without a byte after which the connection counts as lost. longest: between two attempts.
export function follow({ open, heard, told, state, silence = 40000, longest = 30000 }) {
  let stopped = false;
  let lastId = "";
  let base = 2000;
  let failed = 0;
  let control = new AbortController();
  let wake = () => {};

  async function once() {
    const reading = parser(lastId);
    control = new AbortController();
    let alarm = setTimeout(() => control.abort(), silence);
    try {
      const response = await open(lastId, control.signal);
      const reader = response.body.getReader();
      for (;;) {
        const { done, value } = await reader.read();
        clearTimeout(alarm);
        if (done || stopped) return;
        alarm = setTimeout(() => control.abort(), silence);
        if (failed >= 0) state("live");
        failed = -1;
        heard();
        const events = reading.feed(value);
        lastId = reading.lastId;
        base = reading.retry ?? base;
        events.forEach(told);
      }
    } finally {
      clearTimeout(alarm);
    }
  }

  async function run() {
    while (!stopped) {
      let error = null;
      try {
        await once();
      } catch (met) {
        error = met;
      }
      if (stopped) return;
      state("lost", error);
      failed = Math.max(failed, 0) + 1;
      // Somewhat apart: all pages lose a service that restarts at the same moment.
      const wait = Math.min(longest, base * 2 ** (failed - 1)) * (0.75 + Math.random() / 4);
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, wait);
      });
    }
  }

  run();
  return {
    stop() {
      stopped = true;
      control.abort();
      wake();
    },
    now: () => wake(), // do not wait for the next attempt
  };
}
