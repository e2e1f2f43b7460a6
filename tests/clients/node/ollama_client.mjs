// Ollama's own client in JavaScript.
import { Ollama } from "ollama";
import * as say from "./conversation.mjs";

const client = new Ollama({ host: say.url });
const model = say.chatModel;
const options = { temperature: 0, num_predict: say.tokens };
const bounded = { temperature: 0, num_predict: 40 };
const found = {};

found.list = (await client.list()).models.map((each) => each.name);
found.show = (await client.show({ model })).capabilities;
const whole = await client.chat({ model, messages: say.question, options });
found.chat = whole.message.content;
found.usage = whole.eval_count;
found.stream = "";
for await (const part of await client.chat({ model, messages: say.question, options, stream: true }))
  found.stream += part.message.content;
found.generate = (await client.generate({ model, prompt: "1 2 3\n", raw: true, options })).response;

const tools = [{ type: "function", function: say.getWeather }];
const called = await client.chat({ model, messages: say.weather, tools, options: bounded });
found.tool = called.message.tool_calls[0].function;
const bound = await client.chat({
  model, messages: say.question, format: say.choiceSchema, options: bounded,
});
found.structured = JSON.parse(bound.message.content).colour;
const vectors = await client.embed({ model: say.embeddingModel, input: say.texts });
found.embed = vectors.embeddings.map((vector) => vector.length);
found.running = (await client.ps()).models.map((each) => each.name);
await client.create({ model: "js-made", from: model, system: "Be brief." });
await client.copy({ source: "js-made", destination: "js-copy" });
found.deleted = (await client.delete({ model: "js-copy" })).status;

const error = await say.failure(client.chat({ model: say.absent, messages: say.question }));
found.error = { text: error.message, status: error.status_code };

const endless = await client.chat({
  model, messages: say.story, options: { num_predict: say.endless }, stream: true,
});
const aborted = await say.failure(
  (async () => {
    for await (const part of endless) {
      found["cancelled after"] = part.message.content;
      endless.abort();
    }
  })(),
);
found["cancelled with"] = aborted.name;
const after = await client.chat({ model, messages: say.question, options });
found["after cancel"] = after.message.content;
say.report(found);
