// OpenAI's client in JavaScript: chat completions and responses.
import OpenAI from "openai";
import * as say from "./conversation.mjs";

const client = new OpenAI({ baseURL: `${say.url}/v1`, apiKey: "none", maxRetries: 0 });
const model = say.chatModel;
const short = { model, messages: say.question, temperature: 0, max_tokens: say.tokens };
const found = {};

found.list = [];
for await (const each of client.models.list()) found.list.push(each.id);
found.show = (await client.models.retrieve(model)).id;
const whole = await client.chat.completions.create(short);
found.chat = whole.choices[0].message.content;
found.usage = whole.usage.completion_tokens;
found.stream = "";
for await (const chunk of await client.chat.completions.create({ ...short, stream: true }))
  found.stream += chunk.choices[0]?.delta.content ?? "";

const asked = { model, input: say.question, temperature: 0, max_output_tokens: say.tokens };
found.responses = (await client.responses.create(asked)).output_text;
const stream = client.responses.stream(asked);
const events = [];
for await (const event of stream) events.push(event.type);
found["responses stream"] = (await stream.finalResponse()).output_text;
found["last event"] = events.at(-1);

const called = await client.chat.completions.create({
  model,
  messages: say.weather,
  temperature: 0,
  tools: [{ type: "function", function: { ...say.getWeather, strict: true } }],
  tool_choice: "required",
  parallel_tool_calls: false,
});
const call = called.choices[0].message.tool_calls[0].function;
found.tool = { name: call.name, arguments: JSON.parse(call.arguments) };
const bound = await client.chat.completions.parse({
  ...short,
  max_tokens: 40,
  response_format: {
    type: "json_schema",
    json_schema: { name: "choice", strict: true, schema: say.choiceSchema },
  },
});
found.structured = JSON.parse(bound.choices[0].message.content).colour;
const vectors = await client.embeddings.create({ model: say.embeddingModel, input: say.texts });
found.embed = vectors.data.map((each) => each.embedding.length);

const error = await say.failure(client.chat.completions.create({ ...short, model: say.absent }));
found.error = { text: error.message, status: error.status, kind: error.constructor.name };

const endless = await client.chat.completions.create({
  model, messages: say.story, max_tokens: say.endless, stream: true,
});
for await (const chunk of endless) {
  found["cancelled after"] = chunk.choices[0].delta.content;
  break; // which closes the connection
}
const after = await client.chat.completions.create(short);
found["after cancel"] = after.choices[0].message.content;
say.report(found);
