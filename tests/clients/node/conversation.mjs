// What every client asks for, and how it tells what came back: `node CLIENT.mjs URL` prints one
// JSON object, by the name of each step.

export const url = process.argv[2] ?? "http://127.0.0.1:11434";
export const chatModel = "speaker";
export const embeddingModel = "minilm";
export const question = [{ role: "user", content: "Name a colour." }];
export const weather = [{ role: "user", content: "What is the weather in Paris? Use the tool." }];
export const story = [{ role: "user", content: "Write a very long story about the sea." }];
export const texts = ["one text", "another text"];
export const absent = "nonesuch";
export const tokens = 8; // of a short answer
export const endless = 100_000; // tokens of an answer that only its client ends

export const citySchema = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
export const getWeather = {
  name: "get_weather",
  description: "Get the current weather of a city.",
  parameters: citySchema,
};
export const choiceSchema = {
  type: "object",
  properties: { colour: { enum: ["red", "blue"] } },
  required: ["colour"],
  additionalProperties: false,
};

/** The error of a promise that has to fail. */
export async function failure(promise) {
  try {
    await promise;
  } catch (error) {
    return error;
  }
  throw new Error("it did not fail");
}

export const report = (found) => console.log(JSON.stringify(found));
