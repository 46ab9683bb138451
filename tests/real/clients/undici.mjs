import { EventSource } from "undici";
import { each, withEventSource } from "./each.mjs";

await each(withEventSource(EventSource));
