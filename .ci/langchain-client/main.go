// Drives a server through LangChainGo's clients of Ollama and OpenAI and prints what came back, one
// JSON object.
//
// The arguments are the server's URL, a chat model, an embedding model and one that calls tools:
// that goes by OpenAI's API, for the client of Ollama's knows no tools.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/tmc/langchaingo/llms"
	"github.com/tmc/langchaingo/llms/ollama"
	"github.com/tmc/langchaingo/llms/openai"
)

var errLeft = errors.New("left")

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

var turns = []llms.MessageContent{llms.TextParts(llms.ChatMessageTypeHuman, "Name a colour.")}

// talk asks for an answer, whole and streamed, and returns the options that it asked with.
func talk(ctx context.Context, chat llms.Model, tokens int, found map[string]any) []llms.CallOption {
	short := []llms.CallOption{llms.WithTemperature(0), llms.WithMaxTokens(tokens)}
	whole, err := chat.GenerateContent(ctx, turns, short...)
	must("chat", err)
	found["chat"] = whole.Choices[0].Content
	found["usage"] = whole.Choices[0].GenerationInfo["CompletionTokens"]
	streamed := ""
	_, err = chat.GenerateContent(ctx, turns, append(short, llms.WithStreamingFunc(
		func(_ context.Context, piece []byte) error {
			streamed += string(piece)
			return nil
		}))...)
	must("stream", err)
	found["stream"] = streamed
	return short
}

// leaveAndAsk leaves an endless answer at its first piece, and asks for another one.
func leaveAndAsk(
	ctx context.Context, chat llms.Model, short []llms.CallOption, found map[string]any,
) {
	leaving, leave := context.WithCancel(ctx)
	_, err := chat.GenerateContent(leaving, turns, llms.WithMaxTokens(100_000),
		llms.WithStreamingFunc(func(context.Context, []byte) error {
			leave()
			return errLeft
		}))
	found["cancelled with"] = fmt.Sprint(err)
	after, err := chat.GenerateContent(ctx, turns, short...)
	must("after", err)
	found["after cancel"] = after.Choices[0].Content
}

// openAI tells what the client of OpenAI's API found, by the name of each step.
func openAI(ctx context.Context, url, toolModel, embeddingModel string) map[string]any {
	model := func(name string, options ...openai.Option) *openai.LLM {
		options = append(options, openai.WithBaseURL(url+"/v1"), openai.WithToken("none"),
			openai.WithModel(name), openai.WithEmbeddingModel(embeddingModel))
		client, err := openai.New(options...)
		must("client", err)
		return client
	}
	found := map[string]any{}
	chat := model(toolModel)
	short := talk(ctx, chat, 4, found)

	city := map[string]any{"type": "string", "enum": []string{"Paris"}}
	weather := llms.Tool{Type: "function", Function: &llms.FunctionDefinition{
		Name:        "get_weather",
		Description: "Get the current weather of a city.",
		Parameters: map[string]any{
			"type":       "object",
			"properties": map[string]any{"city": city},
			"required":   []string{"city"},
		},
	}}
	question := llms.TextParts(llms.ChatMessageTypeHuman, "What is the weather in Paris?")
	called, err := chat.GenerateContent(ctx, []llms.MessageContent{question},
		llms.WithTemperature(0), llms.WithMaxTokens(40), llms.WithTools([]llms.Tool{weather}),
		llms.WithToolChoice("required"))
	must("tools", err)
	calls := called.Choices[0].ToolCalls
	found["calls"] = calls
	asked := llms.MessageContent{Role: llms.ChatMessageTypeAI, Parts: []llms.ContentPart{calls[0]}}
	snow := llms.MessageContent{Role: llms.ChatMessageTypeTool, Parts: []llms.ContentPart{
		llms.ToolCallResponse{ToolCallID: calls[0].ID, Name: "get_weather", Content: "snow"}}}
	answered, err := chat.GenerateContent(ctx, []llms.MessageContent{question, asked, snow},
		append(short, llms.WithTools([]llms.Tool{weather}))...)
	must("answer to a call", err)
	found["answer to a call"] = answered.Choices[0].Content

	colours := []interface{}{"red", "blue"}
	choice := &openai.ResponseFormat{Type: "json_schema",
		JSONSchema: &openai.ResponseFormatJSONSchema{Name: "choice", Strict: true,
			Schema: &openai.ResponseFormatJSONSchemaProperty{Type: "object",
				Properties: map[string]*openai.ResponseFormatJSONSchemaProperty{
					"colour": {Type: "string", Enum: colours}},
				Required: []string{"colour"}}}}
	bound, err := model(toolModel, openai.WithResponseFormat(choice)).GenerateContent(
		ctx, turns, llms.WithTemperature(0), llms.WithMaxTokens(20))
	must("structured", err)
	found["structured"] = bound.Choices[0].Content
	vectors, err := chat.CreateEmbedding(ctx, []string{"one text", "another text"})
	must("embed", err)
	found["embed"] = []int{len(vectors[0]), len(vectors[1])}

	_, err = model("nonesuch").GenerateContent(ctx, turns)
	found["error"] = fmt.Sprint(err)

	leaveAndAsk(ctx, chat, short, found)
	return found
}

func main() {
	ctx := context.Background()
	url, chatModel, embeddingModel := os.Args[1], os.Args[2], os.Args[3]
	model := func(name string, options ...ollama.Option) *ollama.LLM {
		options = append(options, ollama.WithServerURL(url), ollama.WithModel(name))
		client, err := ollama.New(options...)
		must("client", err)
		return client
	}
	found := map[string]any{}
	chat := model(chatModel)
	short := talk(ctx, chat, 8, found)

	bound, err := model(chatModel, ollama.WithFormat("json")).GenerateContent(
		ctx, turns, llms.WithTemperature(0), llms.WithMaxTokens(40))
	must("json", err)
	found["json"] = bound.Choices[0].Content
	vectors, err := model(embeddingModel).CreateEmbedding(ctx, []string{"one text", "another text"})
	must("embed", err)
	found["embed"] = []int{len(vectors[0]), len(vectors[1])}

	_, err = model("nonesuch").GenerateContent(ctx, turns)
	found["error"] = fmt.Sprint(err)

	leaveAndAsk(ctx, chat, short, found)
	found["openai"] = openAI(ctx, url, os.Args[4], embeddingModel)
	must("print", json.NewEncoder(os.Stdout).Encode(found))
}
