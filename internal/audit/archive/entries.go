// Package archive is the files in which months of the audit log outlive the database: entries, manifests, and where they
// are kept.
package archive

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

// A file of entries is a zstd stream of records in the order of the log: the place of an entry in eight bytes, the length
// of its leaf in two, big end first, and the leaf. A file of personal data is a zstd stream of lines of JSON.
const (
	recordHead = 10
	// maxLine bounds a line of personal data.
	maxLine = 256 << 10
	// window is the most memory that a file can ask of its reader.
	window = 8 << 20
)

// errForm says that a file does not have the form of one.
var errForm = errors.New("it does not have the form of an archive file")

// counted counts and hashes what goes through it.
type counted struct {
	w   io.Writer
	sum hash.Hash
	n   int64
}

func (c *counted) Write(b []byte) (int, error) {
	n, err := c.w.Write(b)
	c.sum.Write(b[:n])
	c.n += int64(n)
	return n, err
}

// Writer writes a file.
type Writer struct {
	out  counted
	zip  *zstd.Encoder
	file File
	// Plain is how many bytes went in.
	Plain int64
}

// NewWriter begins a file.
func NewWriter(w io.Writer) (*Writer, error) {
	f := &Writer{out: counted{w: w, sum: sha256.New()}}
	var err error
	f.zip, err = zstd.NewWriter(&f.out, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithEncoderLevel(zstd.SpeedDefault))
	return f, err
}

// Add writes an entry: the one behind the last.
func (f *Writer) Add(index int64, leaf []byte) error {
	if len(leaf) > 65535 || index < 0 || f.file.Entries > 0 && index <= f.file.Last {
		return fmt.Errorf("%w: entry %d of %d bytes behind %d", errForm, index, len(leaf), f.file.Last)
	}
	var head [recordHead]byte
	binary.BigEndian.PutUint64(head[:], uint64(index)) //nolint:gosec // not negative
	binary.BigEndian.PutUint16(head[8:], uint16(len(leaf)))
	if f.file.Entries == 0 {
		f.file.First = index
	}
	f.file.Last = index
	return f.write(head[:], leaf)
}

// AddPersonal writes what is known of a person.
func (f *Writer) AddPersonal(p Personal) error {
	line, err := json.Marshal(p)
	if err != nil {
		return err
	}
	return f.write(line, []byte("\n"))
}

func (f *Writer) write(parts ...[]byte) error {
	f.file.Entries++
	for _, b := range parts {
		f.Plain += int64(len(b))
		if _, err := f.zip.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the file, and says what it holds; it has no name yet.
func (f *Writer) Close() (File, error) {
	err := f.zip.Close()
	f.file.Bytes, f.file.SHA256 = f.out.n, fmt.Sprintf("%x", f.out.sum.Sum(nil))
	return f.file, err
}

// Personal is what is known of a person in an entry, sealed as the database has it. Without the person's key it is
// nothing.
type Personal struct {
	Entry      string    `json:"entry"`
	Timestamp  time.Time `json:"timestamp"`
	Subject    string    `json:"subject"`
	Generation int       `json:"generation"`
	Sealed     []byte    `json:"sealed"`
}

// Reader reads a file of entries, one after the other.
type Reader struct {
	in   io.Reader
	sum  hash.Hash
	n    int64
	zip  *zstd.Decoder
	buf  *bufio.Reader
	last int64
}

// NewReader begins to read. Close it.
func NewReader(r io.Reader) (*Reader, error) {
	f := &Reader{sum: sha256.New(), last: -1}
	f.in = io.TeeReader(r, f.sum)
	zip, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(window))
	if err != nil {
		return nil, err
	}
	f.zip, f.buf = zip, bufio.NewReaderSize(zip, 64<<10)
	return f, nil
}

// Read is for the decoder.
func (f *Reader) Read(b []byte) (int, error) {
	n, err := f.in.Read(b)
	f.n += int64(n)
	return n, err
}

// Next is the next entry; io.EOF behind the last.
func (f *Reader) Next() (index int64, leaf []byte, err error) {
	var head [recordHead]byte
	if _, err := io.ReadFull(f.buf, head[:]); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, nil, io.EOF
		}
		return 0, nil, fmt.Errorf("%w: %w", errForm, err)
	}
	place := binary.BigEndian.Uint64(head[:])
	if place > 1<<62 || int64(place) <= f.last {
		return 0, nil, fmt.Errorf("%w: entry %d comes behind %d", errForm, place, f.last)
	}
	leaf = make([]byte, binary.BigEndian.Uint16(head[8:]))
	if _, err := io.ReadFull(f.buf, leaf); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errForm, err)
	}
	f.last = int64(place)
	return f.last, leaf, nil
}

// NextPersonal is the next line of personal data; io.EOF behind the last.
func (f *Reader) NextPersonal() (p Personal, err error) {
	line, err := f.buf.ReadSlice('\n')
	for errors.Is(err, bufio.ErrBufferFull) && len(line) < maxLine {
		line = bytes.Clone(line)
		var more []byte
		more, err = f.buf.ReadSlice('\n')
		line = append(line, more...)
	}
	if errors.Is(err, io.EOF) && len(line) == 0 {
		return p, io.EOF
	}
	if err == nil {
		err = json.Unmarshal(line, &p)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errForm, err)
	}
	return p, err
}

// Sum reads what is left and is the hash and the length of the whole file.
func (f *Reader) Sum() (sha string, length int64, err error) {
	if _, err := io.Copy(io.Discard, readerOnly{f}); err != nil {
		return "", 0, err
	}
	return fmt.Sprintf("%x", f.sum.Sum(nil)), f.n, nil
}

type readerOnly struct{ io.Reader }

// Close gives its memory back.
func (f *Reader) Close() { f.zip.Close() }
