// Calls of Ollama's library for JavaScript. One JSON object on standard output.
import { Ollama } from "ollama";
import { asks, city, weather } from "./questions.mjs";

const client = new Ollama({ host: process.argv[2] });
const found = {};

found.whole = (await client.chat({ model: "m", messages: asks("SKY") })).message.content;
found.streamed = "";
for await (const part of await client.chat({ model: "m", messages: asks("COUNT"), stream: true })) {
  found.streamed += part.message.content;
}
found.generated = (await client.generate({ model: "m", prompt: "SKY" })).response;
found.tool = (await client.chat({ model: "m", messages: asks("TOOL"), tools: [weather] })).message.tool_calls[0].function;
found.streamedTools = [];
for await (const part of await client.chat({ model: "m", messages: asks("TWOTOOLS"), tools: [weather], stream: true })) {
  found.streamedTools.push(...(part.message.tool_calls ?? []).map((call) => call.function.name));
}
const thought = (await client.chat({ model: "m", messages: asks("THINK"), think: true })).message;
found.thought = [thought.thinking.trim(), thought.content.trim()];
found.json = JSON.parse((await client.chat({ model: "m", messages: asks("JSON"), format: city })).message.content);
found.widths = (await client.embed({ model: "e", input: ["hello", "world"] })).embeddings.map((one) => one.length);
found.models = (await client.list()).models.map((model) => model.model);
found.family = (await client.show({ model: "m" })).details.family;
found.missing = await client.chat({ model: "nobody", messages: asks("SKY") }).then(() => null, (error) => error.message);

const endless = await client.generate({ model: "bare", prompt: "LOOP", raw: true, stream: true, options: { num_predict: 100000 } });
for await (const part of endless) {
  found.firstOfEndless ??= part.response;
  endless.abort();
  break;
}

console.log(JSON.stringify(found));
