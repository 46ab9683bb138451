// Reads each URL of the command line, and prints what was read as lines of JSON: [URL, what].
export async function each(read) {
  const alive = setInterval(() => {}, 1000); // some wait for their next attempt without it
  for (const url of process.argv.slice(2)) {
    const tell = (what) => console.log(JSON.stringify([url, what]));
    try {
      await read(url, tell);
    } catch (error) {
      tell({ error: error.constructor.name });
    }
  }
  clearInterval(alive);
}

// Reads with an EventSource, by any implementation of it.
export function withEventSource(EventSource) {
  return (url, tell) =>
    new Promise((done) => {
      const source = new EventSource(url);
      const see = ({ type, data, lastEventId }) => {
        tell([type, data, lastEventId]);
        if (data === "[DONE]") {
          source.close();
          done();
        }
      };
      for (const type of ["message", "named", "näme ☃", "ping"]) {
        source.addEventListener(type, see);
      }
      source.addEventListener("error", () => {
        if (source.readyState === EventSource.CLOSED) {
          tell({ error: "closed" });
          done();
        }
      });
    });
}
