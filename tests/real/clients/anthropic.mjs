import Anthropic from "@anthropic-ai/sdk";
import { each } from "./each.mjs";

await each(async (url, tell) => {
  const client = new Anthropic({ apiKey: "none", baseURL: url, maxRetries: 0, logLevel: "off" });
  const messages = [{ role: "user", content: "?" }];
  const events = await client.messages.create({
    model: "m",
    max_tokens: 9,
    messages,
    stream: true,
  });
  for await (const event of events) {
    tell([event.type, event.delta?.text ?? ""]);
  }
});
