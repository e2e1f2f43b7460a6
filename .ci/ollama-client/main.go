// Drives a server through Ollama's own Go client and prints what came back, one JSON object.
//
// OLLAMA_HOST says where the server is; the arguments are a chat model, an embedding model and a
// model that calls tools.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/ollama/ollama/api"
)

const weather = `[{"type": "function", "function": {
	"name": "get_weather",
	"description": "Get the current weather of a city.",
	"parameters": {
		"type": "object",
		"properties": {"city": {"type": "string"}},
		"required": ["city"]
	}
}}]`

// failure is how the client reads an error: its type, its status and its words.
func failure(err error) map[string]any {
	var status api.StatusError
	var authorization api.AuthorizationError
	switch {
	case err == nil:
		return map[string]any{"kind": "none"}
	case errors.As(err, &status):
		return map[string]any{"kind": "status", "status": status.StatusCode, "text": status.ErrorMessage}
	case errors.As(err, &authorization):
		return map[string]any{"kind": "authorization", "status": authorization.StatusCode}
	}
	return map[string]any{"kind": "other", "text": err.Error()}
}

func must(what string, err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func main() {
	ctx := context.Background()
	chatModel, embeddingModel, toolModel := os.Args[1], os.Args[2], os.Args[3]
	client, err := api.ClientFromEnvironment()
	must("client", err)
	must("heartbeat", client.Heartbeat(ctx))
	found := map[string]any{}

	version, err := client.Version(ctx)
	must("version", err)
	found["version"] = version
	list, err := client.List(ctx)
	must("list", err)
	names := []string{}
	for _, model := range list.Models {
		names = append(names, model.Name)
	}
	found["list"] = names
	show, err := client.Show(ctx, &api.ShowRequest{Model: chatModel})
	must("show", err)
	found["show"] = map[string]any{"system": show.System, "template": show.Template}

	// The client sends "template":"", "system":"" and "suffix":"" with every request.
	options := map[string]any{"temperature": 0, "num_predict": 8}
	var text string
	var last api.GenerateResponse
	must("generate", client.Generate(
		ctx,
		&api.GenerateRequest{Model: chatModel, Prompt: "Name a colour.", Options: options},
		func(reply api.GenerateResponse) error {
			text += reply.Response
			last = reply
			return nil
		},
	))
	found["generate"] = map[string]any{"text": text, "done": last.Done, "reason": last.DoneReason}
	var answer string
	must("chat", client.Chat(
		ctx,
		&api.ChatRequest{
			Model:    chatModel,
			Messages: []api.Message{{Role: "user", Content: "Name a colour."}},
			Options:  options,
		},
		func(reply api.ChatResponse) error {
			answer += reply.Message.Content
			return nil
		},
	))
	found["chat"] = answer
	whole := false
	say := func(model, text string, more api.ChatRequest) (api.Message, error) {
		request := more
		request.Model, request.Stream = model, &whole
		request.Messages = []api.Message{{Role: "user", Content: text}}
		var message api.Message
		err := client.Chat(ctx, &request, func(reply api.ChatResponse) error {
			message = reply.Message
			return nil
		})
		return message, err
	}
	unstreamed, err := say(chatModel, "Name a colour.", api.ChatRequest{Options: options})
	must("chat without a stream", err)
	found["chat without a stream"] = unstreamed.Content
	longer := map[string]any{"temperature": 0, "num_predict": 60}
	bound, err := say(chatModel, "Name a colour.", api.ChatRequest{
		Options: longer,
		Format:  json.RawMessage(`{"type": "string", "enum": ["red", "blue"]}`),
	})
	must("structured", err)
	found["structured"] = bound.Content
	var tools api.Tools
	must("tools", json.Unmarshal([]byte(weather), &tools))
	called, err := say(toolModel, "What is the weather in Paris? Use the tool.", api.ChatRequest{
		Options: longer,
		Tools:   tools,
	})
	must("tools", err)
	found["calls"] = called.ToolCalls

	left := errors.New("left")
	endless := &api.ChatRequest{
		Model:    chatModel,
		Messages: []api.Message{{Role: "user", Content: "Count."}},
		Format:   json.RawMessage(`{"type": "array", "items": {"type": "integer"}, "minItems": 10000}`),
		Options:  map[string]any{"num_predict": -1},
	}
	err = client.Chat(ctx, endless, func(api.ChatResponse) error { return left })
	found["cancelled"] = errors.Is(err, left)
	after, err := say(chatModel, "Name a colour.", api.ChatRequest{Options: options})
	must("chat after leaving", err)
	found["after cancel"] = after.Content

	embed, err := client.Embed(ctx, &api.EmbedRequest{Model: embeddingModel, Input: "a"})
	must("embed", err)
	found["embed"] = len(embed.Embeddings[0])
	running, err := client.ListRunning(ctx)
	must("ps", err)
	found["running"] = len(running.Models)

	created := &api.CreateRequest{Model: "go-made", From: chatModel}
	nothing := func(api.ProgressResponse) error { return nil }
	must("create", client.Create(ctx, created, nothing))
	made, err := client.Show(ctx, &api.ShowRequest{Model: "go-made"})
	must("show", err)
	found["created"] = map[string]any{"system": made.System, "template": made.Template}
	must("copy", client.Copy(ctx, &api.CopyRequest{Source: "go-made", Destination: "go-copy"}))
	must("delete", client.Delete(ctx, &api.DeleteRequest{Model: "go-copy"}))

	absent := "pypi://no-such-package-of-olm-tests"
	found["pull error"] = failure(client.Pull(ctx, &api.PullRequest{Model: absent}, nothing))
	found["delete error"] = failure(client.Delete(ctx, &api.DeleteRequest{Model: "nonesuch"}))
	_, err = client.Show(ctx, &api.ShowRequest{Model: "nonesuch"})
	found["show error"] = failure(err)
	found["generate error"] = failure(client.Generate(
		ctx,
		&api.GenerateRequest{Model: "nonesuch", Prompt: "x"},
		func(api.GenerateResponse) error { return nil },
	))
	_, err = client.Whoami(ctx)
	found["whoami error"] = failure(err)
	must("print", json.NewEncoder(os.Stdout).Encode(found))
}
