import { each } from "./each.mjs";

// It is made for browsers.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = (await import("@microsoft/fetch-event-source")).default;

await each((url, tell) => {
  let last;
  return fetchEventSource(url, {
    onmessage({ event, data, id }) {
      tell([event, data, id]);
      last = data;
    },
    // It comes back if this throws and `onerror` does not.
    onclose() {
      if (last !== "[DONE]") {
        throw new Error("ended early");
      }
    },
    onerror(error) {
      if (error.message !== "ended early") {
        throw error;
      }
    },
  });
});
