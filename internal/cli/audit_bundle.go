package cli

import (
	"archive/zip"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/robco-forge/forge/client"
	"github.com/robco-forge/forge/internal/audit/verify"
)

// maxSelection is how many entries with a proof each a bundle may have: beyond that the whole period is the better evidence.
const maxSelection = 20_000

// bundler writes a bundle from what the server publishes of its log.
type bundler struct {
	s     *session
	out   *zip.Writer
	m     verify.Manifest
	tiles map[tlog.Tile][]byte
	wrote map[string]bool
	said  time.Time
}

// body is that of an answer.
func body(resp *http.Response, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // only read
	return io.ReadAll(io.LimitReader(resp.Body, verify.MaxEntries+1))
}

// fetch reads a tile, or the entries of one.
func (b *bundler) fetch(t tlog.Tile, entries bool) ([]byte, error) {
	return body(b.s.api.GetAuditCheckpoint(b.s.ctx, &client.GetAuditCheckpointParams{}, func(_ context.Context, req *http.Request) error {
		req.URL.Path = strings.TrimSuffix(req.URL.Path, "checkpoint") + verify.TilePath(t, entries)
		return nil
	}))
}

// add writes a file, once. Hashes do not get smaller by compression.
func (b *bundler) add(name string, data []byte, method uint16) error {
	if b.wrote[name] {
		return nil
	}
	b.wrote[name] = true
	w, err := b.out.CreateHeader(&zip.FileHeader{Name: name, Method: method, Modified: b.m.Made})
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// Height is that of the tiles.
func (b *bundler) Height() int { return verify.TileHeight }

// ReadTiles reads tiles.
func (b *bundler) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	out := make([][]byte, len(tiles))
	for i, t := range tiles {
		var err error
		if out[i] = b.tiles[t]; out[i] != nil {
			continue
		}
		if out[i], err = b.fetch(t, false); err != nil {
			return nil, err
		}
		if err := b.add(verify.TilePath(t, false), out[i], zip.Store); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// SaveTiles hears which tiles lead to the root.
func (b *bundler) SaveTiles(tiles []tlog.Tile, data [][]byte) {
	for i, t := range tiles {
		if len(b.tiles) >= verify.TileWidth {
			clear(b.tiles)
		}
		b.tiles[t] = data[i]
	}
}

// progress says on a terminal, once a second, how far it is.
func (b *bundler) progress(done, all int64) {
	if now := b.s.now(); b.s.errTTY && now.Sub(b.said) >= time.Second {
		b.said = now
		_, _ = fmt.Fprintf(b.s.Err, "\r\x1b[K%d of %d entries", done, all) // nobody left to be told
	}
}

// stretch writes every entry of the period, and what leads from them to the checkpoint and from the pinned ones.
func (b *bundler) stretch(c verify.Checkpoint, pinned []verify.Checkpoint) error {
	// What proves the period whole lies an hour around it.
	around := client.GetAuditRangeParams{From: b.m.From.Add(-verify.Skew), To: b.m.To.Add(verify.Skew)}
	r, err := b.s.api.GetAuditRangeWithResponse(b.s.ctx, &around)
	if err != nil {
		return err
	}
	span, err := decode[client.AuditRange](r.Body)
	if err != nil {
		return err
	}
	if span.Behind == 0 {
		return hint{errors.New("the log has no entries of that period"), "`forge audit list` shows what there is"}
	}
	b.m.First = max(0, span.First-verify.TileWidth)
	b.m.Behind = min(c.Size, (span.Behind+verify.TileWidth-1)/verify.TileWidth*verify.TileWidth+verify.TileWidth)
	b.m.Entries = b.m.Behind - b.m.First
	hashes := tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, b)
	for _, p := range pinned {
		if p.Size > c.Size {
			return fmt.Errorf("a checkpoint that you gave has %d entries, and the log's newest %d: the log was set back, or it is another one", p.Size, c.Size)
		}
		if _, err := tlog.TreeHash(p.Size, hashes); err != nil {
			return fmt.Errorf("the tree up to %d entries: %w", p.Size, err)
		}
	}
	for from := b.m.First; from < b.m.Behind; {
		n := from / verify.TileWidth
		to := min((n+1)*verify.TileWidth, b.m.Behind)
		indexes := make([]int64, 0, verify.TileWidth)
		for i := from; i < to; i++ {
			indexes = append(indexes, tlog.StoredHashIndex(0, i))
		}
		if _, err := hashes.ReadHashes(indexes); err != nil {
			return fmt.Errorf("the hashes of the entries from %d on: %w", from, err)
		}
		t := tlog.Tile{H: verify.TileHeight, N: n, W: int(min(verify.TileWidth, c.Size-n*verify.TileWidth))}
		entries, err := b.fetch(t, true)
		if err != nil {
			return err
		}
		if err := b.add(verify.TilePath(t, true), entries, zip.Deflate); err != nil {
			return err
		}
		from = to
		b.progress(from-b.m.First, b.m.Entries)
	}
	return b.openings(func(yield func(int64) bool) {
		for i := b.m.First; i < b.m.Behind && yield(i); i++ {
		}
	})
}

// selection writes the entries that a search finds, each with its proof.
func (b *bundler) selection(c verify.Checkpoint, p client.ListAuditEntriesParams) error {
	found, err := b.s.searchAudit(maxSelection+1, p)
	if err != nil {
		return err
	}
	if len(found.items) > maxSelection {
		return hint{fmt.Errorf("more than %d entries are found", maxSelection), "narrow the search, or export the whole period without filters"}
	}
	type proven struct {
		index int64
		text  []byte
	}
	var all []proven
	yes := true
	for i, e := range found.items {
		text, err := body(b.s.api.ProveAuditEntry(b.s.ctx, e.Id, &client.ProveAuditEntryParams{At: &e.Timestamp, Size: &c.Size, Leaf: &yes}))
		if refused, ok := errors.AsType[*APIError](err); ok && refused.Problem.Code == "AUDIT_ENTRY_NOT_SIGNED_YET" {
			continue // it is newer than the checkpoint
		}
		if err != nil {
			return err
		}
		proof, err := verify.ParseProof(string(text))
		if err != nil {
			return fmt.Errorf("the server's proof of %s: %w", e.Id, err)
		}
		all = append(all, proven{proof.Index, text})
		b.progress(int64(i), int64(len(found.items)))
	}
	slices.SortFunc(all, func(x, y proven) int { return cmp.Compare(x.index, y.index) })
	b.m.Entries = int64(len(all))
	places := make([]int64, len(all))
	for i, p := range all {
		places[i] = p.index
		if err := b.add(fmt.Sprintf("%s%07d.tlog-proof", verify.ProofsDir, i+1), p.text, zip.Deflate); err != nil {
			return err
		}
	}
	return b.openings(slices.Values(places))
}

// openings writes what the commitments of entries are to, if that is wanted.
func (b *bundler) openings(places iter.Seq[int64]) error {
	if !b.m.PersonalData {
		return nil
	}
	w, err := b.out.CreateHeader(&zip.FileHeader{Name: verify.OpeningsFile, Method: zip.Deflate, Modified: b.m.Made})
	if err != nil {
		return err
	}
	lines := json.NewEncoder(w)
	lines.SetEscapeHTML(false)
	var some []int64
	write := func() error {
		if len(some) == 0 {
			return nil
		}
		r, err := b.s.api.ListAuditOpeningsWithResponse(b.s.ctx, &client.ListAuditOpeningsParams{Index: some})
		if err != nil {
			return err
		}
		found, err := decode[client.AuditOpenings](r.Body)
		if err != nil {
			return err
		}
		for _, o := range found.Items {
			fields := make(map[string]verify.Opening, len(o.Fields))
			for name, f := range o.Fields {
				fields[name] = verify.Opening{Salt: f.Salt, Value: f.Value}
			}
			if err := lines.Encode(verify.Openings{Index: o.Index, Entry: o.Entry, Fields: fields, Erased: o.Erased, Archived: o.Archived}); err != nil {
				return err
			}
		}
		some = some[:0]
		return nil
	}
	done := int64(0)
	for place := range places {
		if some = append(some, place); len(some) == verify.TileWidth {
			done += int64(len(some))
			if err := write(); err != nil {
				return err
			}
			b.progress(done, b.m.Entries)
		}
	}
	return write()
}

// bundleOptions are what a bundle is to be like.
type bundleOptions struct {
	// checkpoints are files with checkpoints that the reader has: the bundle leads from them to its own.
	checkpoints []string
	// personal puts in what is known of persons, and witnessed has a checkpoint that a witness has signed.
	personal, witnessed bool
}

func (o *bundleOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.checkpoints, "checkpoint", nil, "bundle: a file with a checkpoint that its reader has kept; may be given several times")
	f.BoolVar(&o.personal, "with-personal-data", false, "bundle: put in what is known of persons (addresses, programs, e-mail), to be compared with the commitments")
	f.BoolVar(&o.witnessed, "witnessed", false, "bundle: use the newest checkpoint that a witness has signed, for readers with --witness-key")
}

func (o *bundleOptions) given() bool { return len(o.checkpoints) > 0 || o.personal || o.witnessed }

// bundle writes a bundle to the file, which is there only when it is whole.
func (s *session) bundle(f auditFilter, out string, w bundleOptions) error {
	if out == "" {
		return UsageError{Err: errors.New("--out is required for a bundle")}
	}
	from, to, err := period(f.from, f.to)
	if err != nil {
		return err
	}
	b := &bundler{s: s, tiles: map[tlog.Tile][]byte{}, wrote: map[string]bool{}, m: verify.Manifest{Version: verify.BundleVersion, Kind: verify.RangeBundle, Made: s.now().UTC().Truncate(time.Second)}}
	b.m.Filter, b.m.PersonalData = f.named(), w.personal
	if len(b.m.Filter) > 0 {
		b.m.Kind = verify.SelectionBundle
	} else if from == nil {
		return UsageError{Err: errors.New("a bundle of a whole period needs --from")}
	}
	if to == nil {
		to = &b.m.Made
	}
	if from != nil {
		b.m.From = *from
	}
	b.m.To = *to
	pinned, err := parsedCheckpoints(w.checkpoints)
	if err != nil {
		return err
	}
	newest, err := body(s.api.GetAuditCheckpoint(s.ctx, &client.GetAuditCheckpointParams{Witnessed: &w.witnessed}))
	if err != nil {
		return err
	}
	c, err := verify.ParseCheckpoint(string(newest))
	if err != nil {
		return fmt.Errorf("the server's checkpoint: %w", err)
	}
	b.m.Origin, b.m.Size = c.Origin, c.Size

	err = wholeFile(out, func(file *os.File) error {
		b.out = zip.NewWriter(file)
		err := b.add(verify.CheckpointFile, newest, zip.Deflate)
		if err == nil && b.m.Kind == verify.RangeBundle {
			err = b.stretch(c, pinned)
		} else if err == nil {
			err = b.selection(c, f.search(from, to))
		}
		if s.errTTY {
			s.progressDone()
		}
		if err != nil {
			return err
		}
		manifest, err := json.MarshalIndent(b.m, "", "  ")
		if err != nil {
			return err
		}
		return errors.Join(b.add(verify.ManifestFile, append(manifest, '\n'), zip.Deflate), b.out.Close())
	})
	if err != nil {
		return err
	}
	s.note("wrote %s (%d entries, up to a checkpoint over %d)", out, b.m.Entries, b.m.Size)
	return nil
}

// named are the filters that were given, but for the period.
func (f auditFilter) named() map[string]string {
	out := map[string]string{}
	for name, v := range map[string]string{
		"action": f.action, "resource_type": f.kind, "resource_id": f.id, "result": f.result, "interface": f.through, "address": f.address, "user": f.user,
	} {
		if name == "user" && !strings.HasPrefix(v, "usr_") {
			name = "user_name" // entries have ids
		}
		if v != "" {
			out[name] = v
		}
	}
	return out
}

// texts are the contents of files that the user names.
func texts(paths []string) ([]string, error) {
	out := make([]string, len(paths))
	for i, path := range paths {
		text, err := os.ReadFile(path) //nolint:gosec // the user's own file
		if err != nil {
			return nil, UsageError{Err: err}
		}
		out[i] = string(text)
	}
	return out, nil
}

func parsedCheckpoints(paths []string) ([]verify.Checkpoint, error) {
	all, err := texts(paths)
	out := make([]verify.Checkpoint, len(all))
	for i, text := range all {
		if out[i], err = verify.ParseCheckpoint(text); err != nil {
			return nil, UsageError{Err: fmt.Errorf("%s: %w", paths[i], err)}
		}
	}
	return out, err
}

// errNotGenuine makes the program end with 1.
var errNotGenuine = errors.New("this is not what was recorded and signed")

func (e *env) auditVerifyBundleCommand() *cobra.Command {
	var keyFile string
	var checkpoints, proofs, witnesses []string
	var maxAge time.Duration
	c := &cobra.Command{
		Use: "verify-bundle FILE", Short: "Verify an export or a proof, with no server and no network", Args: cobra.ExactArgs(1),
		Long: `Checks what "forge audit export --format bundle" has written, or a proof that somebody kept, with nothing but
the log's public key. Get the key another way than the bundle: from "forge audit key public", a witness, or whoever
you trust. Checkpoints that you have kept show whether the past was rewritten since.

It says of each check whether it was made and what it found, names the entry, and says what that means. A bundle of a
whole period shows that nothing was left out; a selection (made with filters) shows only that what is there is genuine.

It ends with 0 when nothing was found wrong, 1 when something was, and 2 when the file could not be read as a bundle.`,
		Example: `  forge audit export --from 2026-11-01 --to 2026-12-01 --out november.zip
  forge audit verify-bundle november.zip --key log.vkey
  forge audit verify-bundle november.zip --key log.vkey --checkpoint last-year.checkpoint -o json
  forge audit verify-bundle november.zip --key log.vkey --witness-key witness.example.com/audit+… --max-age 10m`,
	}
	c.Flags().StringVar(&keyFile, "key", "", "file with the log's public keys, one on a line (required)")
	c.Flags().StringArrayVar(&checkpoints, "checkpoint", nil, "a file with a checkpoint that was kept; may be given several times")
	c.Flags().StringArrayVar(&proofs, "proof", nil, "a file with a proof that was kept; may be given several times")
	c.Flags().StringArrayVar(&witnesses, "witness-key", nil, "public key of a witness that must have signed; may be given several times")
	c.Flags().DurationVar(&maxAge, "max-age", 0, "how old the newest entry may be, such as 15m, in a bundle that goes to the end of the log")
	return e.local(c, func(s *session, args []string) error {
		if keyFile == "" {
			return UsageError{Err: errors.New("--key is required: a bundle cannot vouch for itself")}
		}
		keyText, err := texts([]string{keyFile})
		if err != nil {
			return err
		}
		o := verify.Options{}
		if o.Keys, err = verify.ParseKeys(keyText[0]); err != nil {
			return UsageError{Err: fmt.Errorf("%s: %w", keyFile, err)}
		}
		if o.Pinned, err = texts(checkpoints); err != nil {
			return err
		}
		if o.Receipts, err = texts(proofs); err != nil {
			return err
		}
		for _, text := range witnesses {
			w, err := verify.ParseWitness(text)
			if err != nil {
				return UsageError{Err: fmt.Errorf("--witness-key: %w", err)}
			}
			o.Witnesses = append(o.Witnesses, w)
		}
		r, err := verifyFile(args[0], o, maxAge, s.now())
		if errors.Is(err, verify.ErrNoBundle) || errors.Is(err, os.ErrNotExist) {
			return UsageError{Err: err}
		}
		if err != nil {
			return err
		}
		if s.format == "json" {
			out := json.NewEncoder(s.Out)
			out.SetIndent("", "  ")
			err = out.Encode(r)
		} else {
			_, err = fmt.Fprint(s.Out, r.Text())
		}
		if err == nil && !r.OK() {
			err = hint{errNotGenuine, "keep the file as it is, and ask whoever runs the log; docs/runbooks/audit.md says what each check means"}
		}
		return err
	})
}

// verifyFile verifies a bundle or a proof.
func verifyFile(path string, o verify.Options, maxAge time.Duration, now time.Time) (*verify.Report, error) {
	file, err := os.Open(path) //nolint:gosec // the user's own file
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	r := verify.NewReport()
	head := make([]byte, len(verify.ProofHead))
	if n, err := file.ReadAt(head, 0); err == nil && string(head[:n]) == verify.ProofHead {
		text, err := io.ReadAll(io.LimitReader(file, verify.MaxProof+1))
		if err != nil {
			return nil, err
		}
		verify.Receipt(r, string(text), o)
		return r, nil
	}
	if _, err = verify.Bundle(r, file, info.Size(), o); err == nil && maxAge > 0 {
		r.Fresh(now, maxAge)
	}
	return r, err
}
