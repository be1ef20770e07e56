package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/robco-forge/forge/client"
)

const defaultAPI = "http://127.0.0.1:8080"

func (e *env) loginCommand() *cobra.Command {
	var token, api, name string
	c := &cobra.Command{
		Use: "login", Short: "Sign in with a token",
		Long: `Signs in: asks the server who the token's owner is and, if it knows, keeps address and token
as a context that the other commands use. Without --context it is the current context, or one
named after the server when that is another one.

A token on the command line stays in the shell's history; --token - reads it from the input.`,
		Example: `  forge login --api https://forge.robco.example --token - < token.txt
  forge login --token forge_… --context dev`,
	}
	c.Flags().StringVar(&token, "token", "", "the token, or - to read it from the input")
	c.Flags().StringVar(&api, "api", "", "address of the server (that of the context, FORGE_API, or "+defaultAPI+")")
	c.Flags().StringVar(&name, "context", "", "what to call it")
	return e.local(c, func(s *session, _ []string) error {
		token, err := e.readToken(token)
		if err != nil {
			return err
		}
		config, path, err := LoadConfig()
		if err != nil {
			return err
		}
		name, to := loginTarget(config, name, api)
		to.Token = token
		if s.api, err = e.dial(to); err != nil {
			return err
		}
		me, raw, err := s.me()
		if err != nil {
			return err
		}
		if config.Contexts == nil {
			config.Contexts = map[string]Context{}
		}
		config.Contexts[name] = to
		config.Current = name
		if err := config.Save(path); err != nil {
			return fmt.Errorf("writing the client's contexts: %w", err)
		}
		if exposed(to.API) {
			s.note("Warning: the token travels to %s unencrypted.", printable(to.API))
		}
		s.name, s.target = name, to
		return s.emit(raw, s.meTable(me))
	})
}

// readToken is the token that was given, or asked for, or read from the input.
func (e *env) readToken(given string) (string, error) {
	var token string
	switch {
	case given == "" && e.inTTY:
		f, ok := e.In.(*os.File)
		if !ok {
			return "", UsageError{Err: errors.New("--token is required")}
		}
		_, _ = fmt.Fprint(e.Err, "Token: ")
		b, err := term.ReadPassword(int(f.Fd()))
		e.note("")
		if err != nil {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		token = string(b)
	case given == "":
		return "", UsageError{Err: errors.New("--token is required; - reads it from the input")}
	case given == "-":
		line, err := bufio.NewReader(io.LimitReader(e.In, 4096)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("reading the token: %w", err)
		}
		token = line
	default:
		token = given
	}
	token = strings.TrimSpace(token)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", UsageError{Err: errors.New("that is no token: it is one word that begins with forge_")}
	}
	return token, nil
}

// loginTarget decides which context a sign-in makes or renews. One server's token never replaces another's, unless the
// name was given.
func loginTarget(config Config, name, api string) (string, Context) {
	if api == "" {
		api = os.Getenv("FORGE_API")
	}
	if name == "" && (api == "" || config.Contexts[config.Current].API == api) {
		name = config.Current
	}
	if api == "" {
		api = config.Contexts[name].API
	}
	if api == "" {
		api = defaultAPI
	}
	if name == "" {
		name = "default"
		if other, taken := config.Contexts[name]; taken && other.API != api {
			if u, err := url.Parse(api); err == nil && u.Host != "" {
				name = u.Host
			}
		}
	}
	return name, Context{API: api}
}

func (e *env) contextCommand() *cobra.Command {
	type item struct {
		Name    string `json:"name"`
		API     string `json:"api"`
		Current bool   `json:"current"`
	}
	show := e.local(&cobra.Command{
		Use: "list", Short: "Where you are signed in", Example: "  forge context list",
	}, func(s *session, _ []string) error {
		config, path, err := LoadConfig()
		if err != nil {
			return err
		}
		items := []item{}
		t := &table{head: []string{"CURRENT", "NAME", "API"}, none: "No contexts in " + path + "; `forge login --token …` makes one."}
		for _, name := range slices.Sorted(maps.Keys(config.Contexts)) {
			i := item{Name: name, API: config.Contexts[name].API, Current: name == config.Current}
			items = append(items, i)
			mark := ""
			if i.Current {
				mark = "*"
			}
			t.row(cell{text: fmt.Sprint(i.Current), show: mark + " "}, words(i.Name), words(i.API))
		}
		return s.emitValue(items, t)
	})
	use := e.local(&cobra.Command{
		Use: "use NAME", Short: "Make a context the current one", Args: cobra.ExactArgs(1), Example: "  forge context use auditor",
	}, func(s *session, args []string) error {
		config, path, err := LoadConfig()
		if err != nil {
			return err
		}
		to, ok := config.Contexts[args[0]]
		if !ok {
			return hint{fmt.Errorf("there is no context %q in %s", args[0], path), "`forge context list`"}
		}
		config.Current = args[0]
		if err := config.Save(path); err != nil {
			return fmt.Errorf("writing the client's contexts: %w", err)
		}
		t := pairs()
		t.pair("Context", words(args[0]))
		t.pair("API", words(to.API))
		return s.emitValue(item{Name: args[0], API: to.API, Current: true}, t)
	})
	return parent(&cobra.Command{
		Use: "context", Short: "The servers where you are signed in",
		Long: `A context is a server's address and your token for it. They are in $FORGE_CONFIG, or in
forge/config.yaml of your configuration directory.`,
		Example: "  forge context list\n  forge context use dev",
	}, show, use)
}

func (s *session) me() (client.Me, json.RawMessage, error) {
	r, err := s.api.GetMeWithResponse(s.ctx)
	if err != nil {
		return client.Me{}, nil, err
	}
	me, err := decode[client.Me](r.Body)
	if err == nil && me.User.Id == "" {
		err = hint{fmt.Errorf("%s does not answer like a Forge", s.target.API), "check the address"}
	}
	return me, r.Body, err
}

func (s *session) meTable(me client.Me) *table {
	t := pairs()
	t.pair("User", words(me.User.UserName))
	t.pair("Name", words(me.User.DisplayName))
	t.pair("Email", words(me.User.Email))
	t.pair("Role", words(me.User.Role))
	t.pair("Team", words(me.User.Team))
	t.pair("Bundles", words(strings.Join(me.AllowedBundleTypes, ", ")))
	t.pair("Access ends", instantOf(me.User.CredentialExpiresAt))
	t.pair("API", words(s.target.API))
	t.pair("Context", words(s.name))
	return t
}

func (e *env) whoamiCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "whoami", Short: "Who you are to the server, and what you may launch",
		Long:    "Shows the user that the token belongs to, with role, team and the bundles that may be launched.",
		Example: "  forge whoami\n  forge whoami -o json | jq -r .user.role",
	}, func(s *session, _ []string) error {
		me, raw, err := s.me()
		if err != nil {
			return err
		}
		return s.emit(raw, s.meTable(me))
	})
}

func (e *env) tokenCommand() *cobra.Command {
	return parent(&cobra.Command{
		Use: "token", Short: "Tokens: what programs and this client sign in with",
		Example: "  forge token create --name ci --lifetime 72h\n  forge token list\n  forge token revoke tok_…",
	}, e.tokenCreateCommand(), e.tokenListCommand(), e.tokenRevokeCommand())
}

func (e *env) tokenCreateCommand() *cobra.Command {
	var name, user string
	var lifetime time.Duration
	c := &cobra.Command{
		Use: "create", Short: "Make a token; its secret is shown once",
		Example: "  forge token create --name laptop\n  forge token create --name ci --lifetime 72h -o json | jq -r .secret",
	}
	c.Flags().StringVar(&name, "name", "", "what it is for (required)")
	c.Flags().DurationVar(&lifetime, "lifetime", 720*time.Hour, "how long it is good for, in whole hours")
	c.Flags().StringVar(&user, "user", "", "for whom, by id or name; admins only")
	return e.remote(c, func(s *session, _ []string) error {
		if name == "" {
			return UsageError{Err: errors.New("--name is required")}
		}
		if lifetime < time.Hour || lifetime%time.Hour != 0 {
			return UsageError{Err: fmt.Errorf("--lifetime is in whole hours, 1h or more, not %s", lifetime)}
		}
		hours, key := int64(lifetime/time.Hour), newKey()
		r, err := s.api.CreateTokenWithResponse(s.ctx, &client.CreateTokenParams{IdempotencyKey: &key}, client.TokenCreate{Name: name, LifetimeHours: &hours, User: given(user)})
		if err != nil {
			return err
		}
		made, err := decode[client.TokenCreated](r.Body)
		if err != nil {
			return err
		}
		t := tokenPairs(made.Token)
		if made.Secret == nil {
			s.note("The secret was in an answer that did not arrive. Revoke this token and make another.")
		}
		t.pair("Secret", wordsOf(made.Secret))
		if s.format == "table" && made.Secret != nil {
			t.foot = "Keep the secret now: it is not shown again."
		}
		return s.emit(r.Body, t)
	})
}

func tokenPairs(k client.Token) *table {
	t := pairs()
	t.pair("ID", words(k.Id))
	t.pair("Name", words(k.Name))
	t.pair("User", words(k.UserId))
	t.pair("Created", instant(k.CreatedAt))
	t.pair("Expires", instant(k.ExpiresAt))
	t.pair("Last used", instantOf(k.LastUsedAt))
	t.pair("Revoked", instantOf(k.RevokedAt))
	return t
}

func (e *env) tokenListCommand() *cobra.Command {
	var limit int
	c := &cobra.Command{Use: "list", Short: "Your tokens, without their secrets", Example: "  forge token list"}
	limitFlag(c, &limit)
	return e.remote(c, func(s *session, _ []string) error {
		found, err := fetch[client.Token](limit, func(cursor *string, size *int64) ([]byte, error) {
			r, err := s.api.ListTokensWithResponse(s.ctx, &client.ListTokensParams{Cursor: cursor, Limit: size})
			if err != nil {
				return nil, err
			}
			return r.Body, nil
		})
		if err != nil {
			return err
		}
		t := &table{head: []string{"ID", "NAME", "CREATED", "EXPIRES", "LAST USED", "REVOKED"}, none: "No tokens."}
		for _, k := range found.items {
			t.row(words(k.Id), words(k.Name), instant(k.CreatedAt), instant(k.ExpiresAt), instantOf(k.LastUsedAt), instantOf(k.RevokedAt))
		}
		return emitList(s, found, t)
	})
}

func (e *env) tokenRevokeCommand() *cobra.Command {
	return e.remote(&cobra.Command{
		Use: "revoke ID", Short: "End a token at once", Args: cobra.ExactArgs(1), Example: "  forge token revoke tok_01jd8x5qf8e2x9v7m3k4n5p6q7",
	}, func(s *session, args []string) error {
		r, err := s.api.RevokeTokenWithResponse(s.ctx, args[0])
		if err != nil {
			return err
		}
		k, err := decode[client.Token](r.Body)
		if err != nil {
			return err
		}
		return s.emit(r.Body, tokenPairs(k))
	})
}
