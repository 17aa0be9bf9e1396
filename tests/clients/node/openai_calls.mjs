// Calls of OpenAI's library for JavaScript. One JSON object on standard output.
import OpenAI from "openai";
import { asks, city, weather } from "./questions.mjs";

const client = new OpenAI({ baseURL: `${process.argv[2]}/v1`, apiKey: "ollama", maxRetries: 0 });
const found = {};

found.whole = (await client.chat.completions.create({ model: "m", messages: asks("SKY") })).choices[0].message.content;
found.streamed = "";
const stream = await client.chat.completions.create({
  model: "m", messages: asks("COUNT"), stream: true, stream_options: { include_usage: true },
});
for await (const chunk of stream) {
  found.streamed += chunk.choices[0]?.delta?.content ?? "";
  found.usage = chunk.usage ?? found.usage;
}
const called = (await client.chat.completions.create({ model: "m", messages: asks("TOOL"), tools: [weather] })).choices[0];
found.tool = [called.finish_reason, called.message.tool_calls[0].function.name, JSON.parse(called.message.tool_calls[0].function.arguments)];
const runner = client.chat.completions.stream({ model: "m", messages: asks("TOOL"), tools: [weather] });
const streamedCall = (await runner.finalChatCompletion()).choices[0].message.tool_calls[0];
found.streamedTool = [streamedCall.function.name, JSON.parse(streamedCall.function.arguments)];
const parsed = await client.chat.completions.parse({
  model: "m", messages: asks("JSON"),
  response_format: { type: "json_schema", json_schema: { name: "person", strict: true, schema: city } },
});
found.json = JSON.parse(parsed.choices[0].message.content);
const response = await client.responses.create({ model: "m", input: "SKY" });
found.response = response.output_text;
found.continued = (await client.responses.create({ model: "m", input: "COUNT", previous_response_id: response.id })).output_text;
found.responseStream = "";
const events = client.responses.stream({ model: "m", input: "COUNT" });
for await (const event of events) {
  if (event.type === "response.output_text.delta") found.responseStream += event.delta;
}
found.finalResponse = (await events.finalResponse()).status;
found.completion = (await client.completions.create({ model: "m", prompt: "SKY", max_tokens: 100 })).choices[0].text;
const vectors = (await client.embeddings.create({ model: "e", input: ["hello", "world"] })).data;
const plain = (await client.embeddings.create({ model: "e", input: ["hello", "world"], encoding_format: "float" })).data;
found.widths = vectors.map((one) => one.embedding.length);
found.distance = Math.max(...plain[0].embedding.map((value, at) => Math.abs(value - vectors[0].embedding[at])));
found.models = [];
for await (const model of client.models.list()) found.models.push(model.id);
found.model = (await client.models.retrieve("m")).id;
found.missing = await client.chat.completions.create({ model: "nobody", messages: asks("SKY") }).then(() => null, (error) => [error.constructor.name, error.message]);

console.log(JSON.stringify(found));
