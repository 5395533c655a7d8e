// SPDX-License-Identifier: Apache-2.0

// Package page serves the live page: what the connections of this host are doing
// now, as HTML, JSON, CSV, text and a stream of events.
//
// A [Page] is a view and a listener of the engine. While nobody looks it keeps a
// point of totals per scrape and the connections that ended last, nothing more.
// The first who looks has the engine read all of each connection at once. From then
// on, each scrape is copied under the engine's lock, and encoded and sent without it.
// No client can hold up a scrape: one that does not read is dropped.
package page

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
	"github.com/netpulse/tcpstatsreceiver/internal/tcp"
)

// Config says what is served, and where.
type Config struct {
	Server confighttp.ServerConfig
	// History is how far back totals go.
	History time.Duration
	// Interval is the time from one scrape to the next.
	Interval time.Duration
	// Version is the collector's.
	Version string
	// Findings, if it is not nil, has what detectors found. The page reads it until
	// it is closed or the page is shut down.
	Findings <-chan Finding

	Telemetry component.TelemetrySettings
}

// Finding is what someone should look at, as a detector says it.
type Finding struct {
	Time time.Time `json:"time"`
	// Rule is the detector's name, as in scan.outbound.
	Rule string `json:"rule"`
	// Severity is "warn" or "error".
	Severity string `json:"severity"`
	// Title is one sentence that names who and what; Detail has the evidence.
	Title  string `json:"title"`
	Detail string `json:"detail"`
}

// Limits that keep a page from costing its host much.
const (
	maxRows        = 100_000 // connections in a snapshot
	maxViewers     = 256     // streams at a time
	maxRequests    = 32      // requests at a time besides the streams
	maxClients     = 512     // connections at a time, those that ask for nothing included
	maxEnded       = 1000    // ended connections that are remembered
	maxEvents      = 4096    // events between two flushes
	maxFindings    = 100
	maxHistory     = 3600 // points
	lookingFor     = 30 * time.Second
	detailsFor     = 2 * time.Minute // that details of connections are kept after the last request
	flushEvery     = 250 * time.Millisecond
	writeTimeout   = 10 * time.Second
	shutdownGrace  = 2 * time.Second
	keepaliveEvery = 15 * time.Second
)

// Page is the live page of one engine.
type Page struct {
	cfg      Config
	log      *zap.Logger
	hostname string

	server   *http.Server
	address  net.Addr
	serving  sync.WaitGroup
	stopping chan struct{}
	allowed  func(host string) bool
	requests chan struct{} // a token for each request under way

	// lastAsked is when somebody last asked for something, in nanoseconds since
	// 1970; viewers is the number of streams.
	lastAsked atomic.Int64
	viewers   atomic.Int32
	clients   atomic.Int32 // connections
	// watched is whether anybody looked at the last scrape or has come since:
	// events are kept for them.
	watched atomic.Bool

	sampler sampler // guarded by the engine's lock
	// late are the processes of the last snapshot's connections that were found only
	// after these had been reported: their ends are shown with them, as their rows
	// were. It is guarded by the engine's lock.
	late map[tcp.Identity]*process.Process

	// recent is guarded by its own lock, which listeners take for each end.
	recent recent

	// first is held by who has the first dump made that somebody looks at.
	first sync.Mutex

	mu      sync.Mutex
	scrape  *engine.Scrape // the last one
	dumped  time.Time      // when the last dump was complete
	elapsed float64        // seconds between the last two dumps
	newest  *snapshot      // of the last scrape; nil if nobody looked
	tick    int64          // of the last scrape

	stream stream
}

// New returns a page that serves nothing yet.
func New(cfg Config) *Page {
	hostname, err := os.Hostname()
	if err != nil {
		hostname = "this host"
	}
	cfg.Interval = max(cfg.Interval, time.Millisecond)
	cfg.History = min(cfg.History, (maxHistory-1)*cfg.Interval)
	p := &Page{
		cfg: cfg, log: cfg.Telemetry.Logger, hostname: hostname,
		stopping: make(chan struct{}), requests: make(chan struct{}, maxRequests),
	}
	p.sampler.history.limit = int(max(2, p.cfg.History/p.cfg.Interval+1))
	p.stream.epoch = strconv.FormatInt(time.Now().UnixNano(), 36)
	p.recent.wake = make(chan struct{}, 1)
	return p
}

// Start listens and serves.
func (p *Page) Start(ctx context.Context, host component.Host) error {
	listener, err := p.cfg.Server.ToListener(ctx)
	if err != nil {
		return fmt.Errorf("page::endpoint: %w%s", err, remedy(err, p.cfg.Server.NetAddr.Endpoint))
	}
	p.address = listener.Addr()
	p.allowed = hostCheck(p.address, p.cfg.Server.NetAddr.Endpoint, p.hostname)
	var extensions map[component.ID]component.Component
	if host != nil {
		extensions = host.GetExtensions()
	}
	p.server, err = p.cfg.Server.ToServer(ctx, extensions, p.cfg.Telemetry, p.Handler())
	if err != nil {
		return errors.Join(fmt.Errorf("page: %w", err), listener.Close())
	}
	// A request has no body to speak of, and no reason to be slow.
	p.server.MaxHeaderBytes = 16 << 10
	p.server.ConnState = p.client
	p.serving.Go(func() {
		if err := p.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			p.log.Error("the live page is not served any more", zap.Error(err))
		}
	})
	p.serving.Go(p.follow)
	if !p.local() && !p.cfg.Server.Auth.HasValue() {
		p.log.Warn("the live page shows this host's connections and processes to everybody who can reach it: set page::endpoint to a loopback address, or page::auth",
			zap.Stringer("address", p.address))
	}
	p.log.Info("live page: " + p.URL())
	return nil
}

// URL is where the page is, for a browser on this host.
func (p *Page) URL() string {
	if p.address.Network() == "unix" {
		return "unix:" + p.address.String()
	}
	scheme := "http"
	if p.cfg.Server.TLS.HasValue() {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(p.address.String())
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/"
}

// local reports whether only this host can reach the page.
func (p *Page) local() bool {
	if p.cfg.Server.NetAddr.Transport == confignet.TransportTypeUnix {
		return true
	}
	tcp, ok := p.address.(*net.TCPAddr)
	return ok && tcp.IP.IsLoopback()
}

// remedy says what to change when the page cannot listen.
func remedy(err error, endpoint string) string {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		host, port, err := net.SplitHostPort(endpoint)
		if err != nil {
			return " (remove the file if no collector serves it)"
		}
		next, _ := strconv.Atoi(port)
		return fmt.Sprintf(" (another program has port %s: set page::endpoint to a free one, such as %s, or stop that program)", port, net.JoinHostPort(host, strconv.Itoa(next+1)))
	case errors.Is(err, syscall.EACCES):
		return " (set page::endpoint to a port from 1024 up, or to a folder that this user may write to)"
	}
	return ""
}

// Shutdown ends all streams and stops serving.
func (p *Page) Shutdown(ctx context.Context) error {
	if p.server == nil {
		return nil
	}
	close(p.stopping)
	ctx, cancel := context.WithTimeout(ctx, shutdownGrace)
	defer cancel()
	err := p.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = p.server.Close()
	}
	p.serving.Wait()
	p.server = nil
	return err
}

// follow sends events as they come, and takes findings.
func (p *Page) follow() {
	findings := p.cfg.Findings
	for {
		select {
		case <-p.stopping:
			return
		case f, open := <-findings:
			if !open {
				findings = nil
				continue
			}
			p.found(f)
		case <-p.recent.wake:
			p.flush()
			// More come together: one message has many.
			select {
			case <-p.stopping:
				return
			case <-time.After(flushEvery):
			}
		}
	}
}

// client counts the connections of clients, and closes one that is too many: they
// would take the collector's descriptors.
func (p *Page) client(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if p.clients.Add(1) > maxClients {
			_ = c.Close()
		}
	case http.StateClosed, http.StateHijacked:
		p.clients.Add(-1)
	}
}

// looking reports whether anybody has looked lately.
func (p *Page) looking(now time.Time) bool {
	return p.viewers.Load() > 0 || now.UnixNano()-p.lastAsked.Load() < int64(lookingFor)
}

// mayLook reports whether somebody has looked not long ago, and may again.
func (p *Page) mayLook(now time.Time) bool {
	return p.viewers.Load() > 0 || now.UnixNano()-p.lastAsked.Load() < int64(detailsFor)
}

// asked notes that somebody looks.
func (p *Page) asked() { p.lastAsked.Store(time.Now().UnixNano()) }
