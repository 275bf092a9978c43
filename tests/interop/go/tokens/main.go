// Gets tokens with x/oauth2 clientcredentials and verifies them with go-oidc: answers each line of
// JSON with one.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net/url"
	"os"
	"runtime/debug"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

type asked struct {
	Ask          string
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret"`
	Method       string
	Scope        string
	Audience     string
	Token        string
}

func main() {
	provider, err := oidc.NewProvider(context.Background(), os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	say(map[string]any{"library": versions()})
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return
		}
		var asked asked
		if err := json.Unmarshal(line, &asked); err != nil {
			log.Fatal(err)
		}
		if asked.Ask == "token" {
			say(token(provider, asked))
		} else {
			say(verify(provider, asked))
		}
	}
}

func token(provider *oidc.Provider, asked asked) map[string]any {
	config := clientcredentials.Config{
		ClientID:       asked.ClientID,
		ClientSecret:   asked.ClientSecret,
		TokenURL:       provider.Endpoint().TokenURL,
		EndpointParams: url.Values{},
	}
	switch asked.Method {
	case "client_secret_basic":
		config.AuthStyle = oauth2.AuthStyleInHeader
	case "client_secret_post":
		config.AuthStyle = oauth2.AuthStyleInParams
	}
	if asked.Scope != "" {
		config.Scopes = strings.Fields(asked.Scope)
	}
	if asked.Audience != "" {
		config.EndpointParams.Set("audience", asked.Audience)
	}
	token, err := config.Token(context.Background())
	var refused *oauth2.RetrieveError
	switch {
	case errors.As(err, &refused):
		return map[string]any{"error": refused.ErrorCode}
	case err != nil:
		return map[string]any{"failed": err.Error()}
	case !token.Valid() || token.Type() != "Bearer":
		return map[string]any{"failed": "not a valid bearer token"}
	}
	return map[string]any{"token": token.AccessToken}
}

func verify(provider *oidc.Provider, asked asked) map[string]any {
	verifier := provider.Verifier(&oidc.Config{
		ClientID:          asked.Audience,
		SkipClientIDCheck: asked.Audience == "",
	})
	token, err := verifier.Verify(context.Background(), asked.Token)
	var expired *oidc.TokenExpiredError
	switch {
	case errors.As(err, &expired):
		return map[string]any{"refused": "expired"}
	// go-oidc has one sentence for both.
	case err != nil && strings.Contains(err.Error(), "failed to verify signature"):
		return map[string]any{"refused": "forged or unknown"}
	case err != nil && strings.Contains(err.Error(), "issued by a different provider"):
		return map[string]any{"refused": "issuer"}
	case err != nil && strings.Contains(err.Error(), "expected audience"):
		return map[string]any{"refused": "audience"}
	case err != nil:
		return map[string]any{"refused": err.Error()}
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return map[string]any{"failed": err.Error()}
	}
	return map[string]any{"claims": claims}
}

func versions() string {
	info, _ := debug.ReadBuildInfo()
	modules := map[string]string{}
	for _, module := range info.Deps {
		modules[module.Path] = module.Version[1:]
	}
	return fmt.Sprintf("x/oauth2 %s and go-oidc %s",
		modules["golang.org/x/oauth2"], modules["github.com/coreos/go-oidc/v3"])
}

func say(line map[string]any) {
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		log.Fatal(err)
	}
}
