// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/netpulse/tcpstatsreceiver/internal/record"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
	"github.com/netpulse/tcpstatsreceiver/internal/table"
)

const (
	// minInterval is the shortest time from one scrape to the next. A scrape takes
	// 1 to 2 µs of CPU per socket, 10 to 20 ms for 10,000 (docs/performance.md):
	// ten times a second that is a tenth to a fifth of a CPU, and the pipeline gets
	// every point ten times a second. What happens in between is not lost: counters
	// go on, and sources with notices have every close.
	minInterval = 100 * time.Millisecond
	// minTimeout is the shortest limit of a scrape. The bpf iterator takes about a
	// millisecond on a host with few sockets: with less, every scrape would be cut
	// short before it has read anything.
	minTimeout = time.Millisecond
)

// Validate implements confmap.Validator. The sections have no Validate of their own:
// their errors would name only a part of each key. All errors are on one line, because
// the collector writes the receiver's name before the first line only.
func (c *Config) Validate() error {
	errs := []error{
		c.validateTimes(),
		notNegative("process::refresh_interval", c.Process.RefreshInterval),
		c.validateAttributes(),
		c.validateFilter(),
		c.validateConnections(),
		c.validateGroups(),
		c.multiple("system::interval", c.System.Interval),
		c.validateSource(),
		c.validatePeers(),
		c.validateRecords(),
		c.Detect.Check("detect"),
		c.Page.validate(),
	}
	if !c.Connections.Enabled && !c.Groups.Enabled && !c.System.Enabled && !c.recordsSet && len(c.Detect.Enabled) == 0 && !c.Page.enabled() {
		errs = append(errs, errors.New("connections::enabled, groups::enabled, system::enabled: got false for each, takes true for one of them at least, a section records, detect::enabled or page::endpoint: there is nothing to do otherwise"))
	}
	if err := errors.Join(errs...); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

func (c *Config) validateTimes() error {
	var errs []error
	if c.CollectionInterval < minInterval {
		errs = append(errs, fmt.Errorf("collection_interval: got %s, takes %s or more", c.CollectionInterval, minInterval))
	}
	if c.Timeout != 0 && c.Timeout < minTimeout {
		errs = append(errs, fmt.Errorf("timeout: got %s, takes %s or more, or 0s for no limit", c.Timeout, minTimeout))
	}
	errs = append(errs, notNegative("initial_delay", c.InitialDelay))
	return errors.Join(errs...)
}

func (c *Config) validateAttributes() error {
	if a := c.Process.Attributes; a != onResource && a != onDataPoint {
		return fmt.Errorf("process::attributes: got %q, takes one of %s, %s", a, onResource, onDataPoint)
	}
	return nil
}

func (c *Config) validateFilter() error {
	_, errSockets := c.Filter.sockets()
	_, errExecutables := c.Filter.executables()
	errs := []error{errSockets, errExecutables}
	if c.Filter.Executables.any() && !c.Process.Attribution {
		errs = append(errs, errors.New("filter::executables: got conditions while process::attribution is false, takes none then: executables are known by attribution only"))
	}
	return errors.Join(errs...)
}

func (c *Config) validateConnections() error {
	errs := []error{c.multiple("connections::interval", c.Connections.Interval), c.validateUnchanged()}
	if c.Connections.Limit < 0 {
		errs = append(errs, fmt.Errorf("connections::limit: got %d, takes a number of connections, or 0 for all of them", c.Connections.Limit))
	}
	if _, err := table.ParseOrder(c.Connections.OrderBy); err != nil {
		errs = append(errs, fmt.Errorf("connections::order_by: %w", err))
	}
	if c.Connections.BatchSize < 1 {
		errs = append(errs, fmt.Errorf("connections::batch_size: got %d, takes a number of connections from 1 up", c.Connections.BatchSize))
	}
	if _, err := c.Connections.peerAttributes(); err != nil {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// validateUnchanged refuses an interval between two writings of an unchanged connection
// that is shorter than that between any two: it would do nothing.
func (c *Config) validateUnchanged() error {
	const key = "connections::unchanged_interval"
	got := c.Connections.UnchangedInterval
	if err := notNegative(key, got); err != nil {
		return err
	}
	least, of := c.CollectionInterval, "collection_interval"
	if c.Connections.Interval > least {
		least, of = c.Connections.Interval, "connections::interval"
	}
	if got != 0 && got < least {
		return fmt.Errorf("%s: got %s, takes %s (%s) or more, or 0s to write every connection each time", key, got, of, least)
	}
	return nil
}

func (c *Config) validateGroups() error {
	g := &c.Groups
	_, errBy := g.by()
	errs := []error{c.multiple("groups::interval", g.Interval), errBy}
	if g.Limit < 1 {
		errs = append(errs, fmt.Errorf("groups::limit: got %d, takes a number of groups from 1 up", g.Limit))
	}
	errs = append(errs,
		bits("groups::peer_prefix::ipv4", g.PeerPrefix.IPv4, 32),
		bits("groups::peer_prefix::ipv6", g.PeerPrefix.IPv6, 128),
		notNegative("groups::expiry", g.Expiry),
	)
	if g.Histogram != explicit && g.Histogram != exponential {
		errs = append(errs, fmt.Errorf("groups::histogram: got %q, takes %s or %s", g.Histogram, explicit, exponential))
	}
	for i, bound := range g.RTTBuckets {
		if bound <= 0 || i > 0 && bound <= g.RTTBuckets[i-1] {
			errs = append(errs, fmt.Errorf("groups::rtt_buckets: got %s, takes durations above 0s that rise", g.RTTBuckets))
			break
		}
	}
	if len(g.RTTBuckets) == 0 && g.Histogram == explicit {
		errs = append(errs, fmt.Errorf("groups::rtt_buckets: got none, takes at least one with groups::histogram: %s", explicit))
	}
	return errors.Join(errs...)
}

func (c *Config) validateRecords() error {
	kinds, err := c.Records.kinds()
	errs := []error{err}
	if kinds.Has(record.Progress) {
		errs = append(errs, c.multiple("records::progress_interval", c.Records.ProgressInterval))
	} else {
		errs = append(errs, notNegative("records::progress_interval", c.Records.ProgressInterval))
	}
	if c.Records.Limit < 0 {
		errs = append(errs, fmt.Errorf("records::limit: got %d, takes a number of records a second, or 0 for all of them", c.Records.Limit))
	}
	errs = append(errs, notNegative("records::min_duration", c.Records.MinDuration))
	return errors.Join(errs...)
}

func (c *Config) validateSource() error {
	var errs []error
	if c.NetworkNamespaces != hostNamespace && c.NetworkNamespaces != allNamespaces {
		errs = append(errs, fmt.Errorf("network_namespaces: got %q, takes %s or %s", c.NetworkNamespaces, hostNamespace, allNamespaces))
	}
	if c.NetworkNamespaces == allNamespaces {
		errs = append(errs, c.sourceOfNamespaces())
	}
	require, err := c.require()
	if err == nil {
		err = (source.Choice{Name: c.Source, Require: require}).Check(sources())
		if err != nil {
			err = fmt.Errorf("%w, on %s", err, runtime.GOOS)
		}
	}
	return errors.Join(append(errs, err)...)
}

// sourceOfNamespaces checks that a source that is asked for by its name can read
// all network namespaces.
func (c *Config) sourceOfNamespaces() error {
	var able []string
	for _, f := range sources() {
		if f.Capabilities.Missing(source.Namespaces) == 0 {
			able = append(able, f.Name)
		}
	}
	if c.Source == source.Auto || slices.Contains(able, c.Source) || !slices.Contains(source.Names(sources()), c.Source) {
		return nil
	}
	return fmt.Errorf("network_namespaces: got %s, which source %s cannot read, takes it with source %s",
		allNamespaces, c.Source, strings.Join(append([]string{source.Auto}, able...), " or "))
}

// multiple checks that an interval falls on scrapes.
func (c *Config) multiple(key string, interval time.Duration) error {
	if err := notNegative(key, interval); err != nil {
		return err
	}
	if c.CollectionInterval >= minInterval && interval%c.CollectionInterval != 0 {
		return fmt.Errorf("%s: got %s, takes a multiple of collection_interval (%s) or 0s for every scrape", key, interval, c.CollectionInterval)
	}
	return nil
}

func notNegative(key string, d time.Duration) error {
	if d < 0 {
		return fmt.Errorf("%s: got %s, takes 0s or more", key, d)
	}
	return nil
}

func bits(key string, got, most int) error {
	if got < 0 || got > most {
		return fmt.Errorf("%s: got %d, takes a number of bits from 0 to %d", key, got, most)
	}
	return nil
}
