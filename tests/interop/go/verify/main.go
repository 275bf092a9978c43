// Judges the tokens of a file of cases with go-jose; prints a JSON line for each.
package main

import (
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512,
	jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

type asked struct {
	Issuer     string
	JWKS       string
	Algorithms []jose.SignatureAlgorithm
	Cases      []struct{ Name, Token string }
}

func main() {
	var asked asked
	read(os.Args[1], &asked)
	var keys jose.JSONWebKeySet
	read(asked.JWKS, &keys)

	if len(asked.Algorithms) > 0 {
		algorithms = asked.Algorithms
	}

	private, thumbprints := inspect(keys)
	say(map[string]any{"library": version(), "private": private, "thumbprints": thumbprints})
	for _, it := range asked.Cases {
		say(map[string]any{"case": it.Name, "verdict": verdict(keys, asked.Issuer, it.Token)})
	}
}

func inspect(keys jose.JSONWebKeySet) (private int, thumbprints []string) {
	for _, key := range keys.Keys {
		if !key.IsPublic() {
			private++
		}
		thumbprint, err := key.Thumbprint(crypto.SHA256)
		if err != nil {
			log.Fatal(err)
		}
		thumbprints = append(thumbprints, base64.RawURLEncoding.EncodeToString(thumbprint))
	}
	return private, thumbprints
}

func verdict(keys jose.JSONWebKeySet, issuer, token string) string {
	parsed, err := jwt.ParseSigned(token, algorithms)
	var excluded *jose.ErrUnexpectedSignatureAlgorithm
	switch {
	case errors.As(err, &excluded):
		return "excluded"
	case err != nil:
		return err.Error()
	}
	var claims jwt.Claims
	err = parsed.Claims(keys, &claims)
	switch {
	case errors.Is(err, jose.ErrCryptoFailure):
		return "forged"
	case errors.Is(err, jose.ErrJWKSKidNotFound):
		return "unknown"
	case err != nil:
		return err.Error()
	}
	if err := claims.Validate(jwt.Expected{Issuer: issuer, Time: time.Now()}); err != nil {
		return err.Error()
	}
	if claims.Subject == "" || claims.Expiry == nil || claims.IssuedAt == nil || claims.ID == "" {
		return "a claim is missing"
	}
	return "accepted"
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, module := range info.Deps {
		return fmt.Sprintf("go-jose %s, Go %s", module.Version[1:], runtime.Version()[2:])
	}
	return "go-jose"
}

func read(path string, into any) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		log.Fatal(err)
	}
}

func say(line map[string]any) {
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		log.Fatal(err)
	}
}
