// Drives a server through LangChainGo's client of Ollama and prints what came back, one JSON object.
//
// The arguments are the server's URL, a chat model and an embedding model.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/tmc/langchaingo/llms"
	"github.com/tmc/langchaingo/llms/ollama"
)

var errLeft = errors.New("left")

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
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
	short := []llms.CallOption{llms.WithTemperature(0), llms.WithMaxTokens(8)}
	turns := []llms.MessageContent{llms.TextParts(llms.ChatMessageTypeHuman, "Name a colour.")}

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

	bound, err := model(chatModel, ollama.WithFormat("json")).GenerateContent(
		ctx, turns, llms.WithTemperature(0), llms.WithMaxTokens(40))
	must("json", err)
	found["json"] = bound.Choices[0].Content
	vectors, err := model(embeddingModel).CreateEmbedding(ctx, []string{"one text", "another text"})
	must("embed", err)
	found["embed"] = []int{len(vectors[0]), len(vectors[1])}

	_, err = model("nonesuch").GenerateContent(ctx, turns)
	found["error"] = fmt.Sprint(err)

	leaving, leave := context.WithCancel(ctx)
	_, err = chat.GenerateContent(leaving, turns, llms.WithMaxTokens(100_000), llms.WithStreamingFunc(
		func(context.Context, []byte) error {
			leave()
			return errLeft
		}))
	found["cancelled with"] = fmt.Sprint(err)
	after, err := chat.GenerateContent(ctx, turns, short...)
	must("after", err)
	found["after cancel"] = after.Choices[0].Content
	must("print", json.NewEncoder(os.Stdout).Encode(found))
}
