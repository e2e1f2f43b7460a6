// Vercel's AI SDK with its provider of Ollama.
import { embedMany, generateText, jsonSchema, Output, streamText, tool } from "ai";
import { createOllama } from "ai-sdk-ollama";
import * as say from "./conversation.mjs";

const ollama = createOllama({ baseURL: say.url });
const model = ollama(say.chatModel);
const short = { model, messages: say.question, temperature: 0, maxOutputTokens: say.tokens };
const once = { maxRetries: 0 };
const found = {};

const whole = await generateText({ ...short, ...once });
found.chat = whole.text;
found.usage = whole.usage.outputTokens;
found.stream = "";
for await (const text of streamText({ ...short, ...once }).textStream) found.stream += text;

const tools = {
  get_weather: tool({
    description: say.getWeather.description,
    inputSchema: jsonSchema(say.citySchema),
  }),
};
const called = await generateText({
  ...short, ...once, messages: say.weather, maxOutputTokens: 40, tools,
});
found.tool = { name: called.toolCalls[0].toolName, arguments: called.toolCalls[0].input };
const bound = await generateText({
  ...short,
  ...once,
  maxOutputTokens: 40,
  output: Output.object({ schema: jsonSchema(say.choiceSchema) }),
});
found.structured = bound.output.colour;
const vectors = await embedMany({
  model: ollama.embedding(say.embeddingModel), values: say.texts, ...once,
});
found.embed = vectors.embeddings.map((vector) => vector.length);

const error = await say.failure(
  generateText({ ...short, ...once, model: ollama(say.absent) }),
);
found.error = { text: error.message, status: error.statusCode ?? error.cause?.status_code };

// The provider hands no signal on to Ollama's client: the request ends with the process.
const abort = new AbortController();
const endless = streamText({
  ...short,
  ...once,
  messages: say.story,
  maxOutputTokens: say.endless,
  abortSignal: abort.signal,
});
for await (const text of endless.textStream) {
  found["cancelled after"] = text;
  abort.abort();
}
say.report(found);
process.exit();
