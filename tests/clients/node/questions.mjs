// What the scripted model is asked, and a tool for it.
export const asks = (content) => [{ role: "user", content }];
const parameters = {
  type: "object",
  properties: { city: { type: "string", description: "Where" } },
  required: ["city"],
};
export const weather = {
  type: "function",
  function: { name: "get_weather", description: "The weather in a city", parameters },
};
export const city = {
  type: "object",
  properties: { name: { type: "string" }, age: { type: "integer" }, tags: { type: "array", items: { type: "string" } } },
  required: ["name", "age", "tags"],
  additionalProperties: false,
};
