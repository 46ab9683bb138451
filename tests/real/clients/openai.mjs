import OpenAI from "openai";
import { each } from "./each.mjs";

await each(async (url, tell) => {
  const client = new OpenAI({ apiKey: "none", baseURL: url, maxRetries: 0, logLevel: "off" });
  const messages = [{ role: "user", content: "?" }];
  const chunks = await client.chat.completions.create({ model: "m", messages, stream: true });
  for await (const chunk of chunks) {
    tell(chunk.choices?.[0].delta.content ?? chunk);
  }
});
