import { EventSource } from "eventsource";
import { each, withEventSource } from "./each.mjs";

await each(withEventSource(EventSource));
