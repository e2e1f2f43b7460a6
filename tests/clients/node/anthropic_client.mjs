// Anthropic's client in JavaScript.
import Anthropic from "@anthropic-ai/sdk";
import * as say from "./conversation.mjs";

const client = new Anthropic({ baseURL: say.url, apiKey: "none", maxRetries: 0 });
const model = say.chatModel;
const short = { model, messages: say.question, max_tokens: say.tokens, temperature: 0 };
const found = {};

found.list = [];
for await (const each of client.models.list()) found.list.push(each.display_name);
found.show = (await client.models.retrieve(model)).type;
const whole = await client.messages.create(short);
found.chat = whole.content[0].text;
found.usage = whole.usage.output_tokens;
const stream = client.messages.stream(short);
found.stream = "";
stream.on("text", (text) => (found.stream += text));
found["stop reason"] = (await stream.finalMessage()).stop_reason;
found.counted = (await client.messages.countTokens({ model, messages: say.question })).input_tokens;

const tools = [
  {
    name: say.getWeather.name,
    description: say.getWeather.description,
    input_schema: say.citySchema,
  },
];
const called = await client.messages.create({
  ...short, messages: say.weather, max_tokens: 40, tools, tool_choice: { type: "any" },
});
const call = called.content.find((block) => block.type === "tool_use");
found.tool = { name: call.name, arguments: call.input };
const bound = await client.messages.create({
  ...short,
  max_tokens: 40,
  output_config: { format: { type: "json_schema", schema: say.choiceSchema } },
});
found.structured = JSON.parse(bound.content[0].text).colour;

const error = await say.failure(client.messages.create({ ...short, model: say.absent }));
found.error = { text: error.message, status: error.status, kind: error.constructor.name };

const endless = client.messages.stream({ model, messages: say.story, max_tokens: say.endless });
const aborted = await say.failure(
  (async () => {
    for await (const event of endless)
      if (event.type === "content_block_delta") {
        found["cancelled after"] = event.delta.text;
        endless.abort();
      }
  })(),
);
found["cancelled with"] = aborted.constructor.name;
found["after cancel"] = (await client.messages.create(short)).content[0].text;
say.report(found);
