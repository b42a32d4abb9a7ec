// An agent in Go over HTTP, with the standard library alone: it asks before each action, and obeys the answer.
//
//	export VAULTAK_GATEWAY=http://127.0.0.1:8701 VAULTAK_API_KEY=$(vaultak gateway add-key go-agent)
//	go run agent.go
//
// Try `vaultak pause go-agent`, `vaultak resume go-agent`, `vaultak kill go-agent` meanwhile.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const agentID = "go-agent"

type answer struct {
	ActionID string   `json:"action_id"`
	Decision string   `json:"decision"`
	Reasons  []string `json:"reasons"`
}

type gateway struct{ url, key string }

func (g gateway) call(method, path string, body, into any) error {
	var sent bytes.Buffer
	if body != nil {
		if err := json.NewEncoder(&sent).Encode(body); err != nil {
			return err
		}
	}
	request, err := http.NewRequest(method, g.url+path, &sent)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+g.key)
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	said, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, response.Status, said)
	}
	return json.Unmarshal(said, into)
}

// act asks, waits while the action is held, runs it and records what came of it.
func (g gateway) act(session, actionType, resource string, payload map[string]any, run func() error) error {
	asked := map[string]any{
		"kind": "action", "agent_id": agentID, "session_id": session,
		"action_type": actionType, "resource": resource, "payload": payload,
	}
	var said answer
	if err := g.call("POST", "/v1/actions", asked, &said); err != nil {
		return err // whoever cannot ask does not act
	}
	for said.Decision == "pause" {
		path := "/v1/agents/" + agentID + "/actions/" + said.ActionID + "?wait=30"
		if err := g.call("GET", path, nil, &said); err != nil {
			return err
		}
	}
	if said.Decision != "allow" && said.Decision != "alert" {
		return fmt.Errorf("%s: %v", said.Decision, said.Reasons)
	}
	outcome := map[string]any{
		"kind": "outcome", "agent_id": agentID, "session_id": session, "action_id": said.ActionID, "status": "ok",
	}
	failed := run()
	if failed != nil {
		outcome["status"], outcome["error"] = "error", failed.Error()
	}
	var recorded any
	if err := g.call("POST", "/v1/actions", outcome, &recorded); err != nil {
		return err
	}
	return failed
}

func main() {
	g := gateway{os.Getenv("VAULTAK_GATEWAY"), os.Getenv("VAULTAK_API_KEY")}
	session := fmt.Sprintf("go-%d", time.Now().UnixNano())
	for n := 1; ; n++ {
		err := g.act(session, "tool_call", "tool:write_report", map[string]any{"n": n}, func() error {
			fmt.Printf("report %d\n", n)
			return nil
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(3)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
