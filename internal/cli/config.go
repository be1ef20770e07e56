package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"

	"gopkg.in/yaml.v3"
)

// Config is the file in which the client remembers where it is signed in.
type Config struct {
	Current  string             `yaml:"current"`
	Contexts map[string]Context `yaml:"contexts"`
}

// Context is one server and who one is there.
type Context struct {
	API   string `yaml:"api"`
	Token string `yaml:"token"`
}

// LoadConfig reads $FORGE_CONFIG, or forge/config.yaml in the user's configuration directory, and tells which file that
// is. A file that does not exist is an empty Config.
func LoadConfig() (Config, string, error) {
	path := os.Getenv("FORGE_CONFIG")
	if path == "" {
		dir, err := os.UserConfigDir()
		if err != nil {
			return Config{}, "", hint{fmt.Errorf("no place for the client's contexts: %w", err), "set FORGE_CONFIG to the path of a file"}
		}
		path = filepath.Join(dir, "forge", "config.yaml")
	}
	var c Config
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return c, path, nil
	}
	if err != nil {
		return c, path, fmt.Errorf("reading the client's contexts: %w", err)
	}
	if err := yaml.Unmarshal(b, &c); err != nil {
		return Config{}, path, hint{fmt.Errorf("%s cannot be read: %w", path, err), "correct it, or remove it and sign in again"}
	}
	return c, path, nil
}

// Save writes the file, whole or not at all, readable by its owner only: there are tokens in it.
func (c Config) Save(path string) error {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := errors.Join(e.Encode(c), e.Close()); err != nil {
		return err
	}
	// Who keeps the file behind a link keeps the link.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".config-*") // 0600
	if err != nil {
		return err
	}
	_, err = f.Write(b.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// resolveContext is the named context, or the current one, with what the environment says instead.
func resolveContext(name string) (string, Context, error) {
	api, token := os.Getenv("FORGE_API"), os.Getenv("FORGE_TOKEN")
	if api != "" && token != "" {
		return "", Context{API: api, Token: token}, nil
	}
	config, path, err := LoadConfig()
	if err != nil {
		return "", Context{}, err
	}
	if name == "" {
		name = config.Current
	}
	found, ok := config.Contexts[name]
	if api != "" {
		found.API = api
	}
	if token != "" {
		found.Token = token
	}
	switch {
	case !ok && name != "":
		return "", Context{}, hint{fmt.Errorf("there is no context %q in %s", name, path), "`forge context list`, or `forge login --token … --context " + name + "`"}
	case found.API == "" && token != "":
		return "", Context{}, hint{errors.New("FORGE_TOKEN is set, but not the server it is for"), "set FORGE_API too"}
	case found.Token == "":
		return "", Context{}, hint{fmt.Errorf("you are not signed in: there is no context in %s", path), "`forge login --token …`, or `forge dev` for a Forge on this machine"}
	}
	return name, found, nil
}

// checkAPI refuses what cannot be the address of a server.
func checkAPI(api string) error {
	u, err := url.Parse(api)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.User != nil {
		return UsageError{Err: fmt.Errorf("%q is not the address of a server: it begins with http:// or https:// and holds no password", api)}
	}
	return nil
}

// exposed tells whether a token would leave this machine unencrypted.
func exposed(api string) bool {
	u, err := url.Parse(api)
	if err != nil || u.Scheme != "http" || u.Hostname() == "localhost" {
		return false
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return err != nil || !ip.IsLoopback()
}
