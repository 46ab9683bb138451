import { createParser } from "eventsource-parser";
import { each } from "./each.mjs";

await each(async (url, tell) => {
  // What it leaves out stays out: it knows of no default type, and of no id but the event's own.
  const onEvent = ({ event, data, id }) => tell([event ?? "", data, id ?? ""]);
  const onError = ({ type }) => tell({ error: type });
  const parser = createParser({ onEvent, onError });
  const { body } = await fetch(url);
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    parser.feed(text);
  }
});
