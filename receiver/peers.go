// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"runtime"
	"slices"

	"go.uber.org/zap"

	"github.com/netpulse/tcpstatsreceiver/internal/capture"
	"github.com/netpulse/tcpstatsreceiver/internal/capture/engines"
	"github.com/netpulse/tcpstatsreceiver/internal/engine"
	"github.com/netpulse/tcpstatsreceiver/internal/group"
	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/peer"
	"github.com/netpulse/tcpstatsreceiver/internal/source"
)

// PeersConfig says what is to be known of the other ends of connections. It is found
// when a connection opens and stays with it.
type PeersConfig struct {
	// Processes looks for the process that has the other end on this host, where it is
	// written.
	Processes bool `mapstructure:"processes"`
	// Services are names for peers; the first that matches counts.
	Services []ServiceConfig `mapstructure:"services"`
	DNS      DNSConfig       `mapstructure:"dns"`
	// NAT asks connection tracking for the addresses behind translated ones.
	NAT bool `mapstructure:"nat"`
	// MMDB are files in MaxMind's format with countries or autonomous systems.
	MMDB []string `mapstructure:"mmdb"`
}

// ServiceConfig is a name for peers in a network.
type ServiceConfig struct {
	CIDR string `mapstructure:"cidr"`
	// Port is the peer's; 0: any.
	Port int    `mapstructure:"port"`
	Name string `mapstructure:"name"`
}

// DNSConfig says how the names of peers are learned.
type DNSConfig struct {
	Enabled bool `mapstructure:"enabled"`
	// Engine is "auto" or the name of what captures packets.
	Engine string `mapstructure:"engine"`
	// QuestionName distinguishes the metrics of lookups by the name that was asked for.
	QuestionName bool `mapstructure:"question_name"`
	// Require refuses engines without these capabilities.
	Require []string `mapstructure:"require"`
}

// choice is what is asked for of what captures packets.
func (c *DNSConfig) choice() (capture.Choice, error) {
	choice := capture.Choice{Name: c.Engine}
	var errs []error
	for _, name := range c.Require {
		one, err := capture.ParseCapability(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("require: %w", err))
		}
		choice.Require |= one
	}
	return choice, errors.Join(errs...)
}

// services are the entries of the list.
func (c *PeersConfig) services() ([]peer.Service, error) {
	var (
		all  []peer.Service
		errs []error
	)
	for _, s := range c.Services {
		prefix, err := source.ParsePrefix(s.CIDR)
		if err != nil {
			errs = append(errs, fmt.Errorf("peers::services::cidr: %w", err))
		}
		if s.Port < 0 || s.Port > 65535 {
			errs = append(errs, fmt.Errorf("peers::services::port: got %d, takes a port from 1 to 65535, or 0 for any", s.Port))
		}
		if s.Name == "" {
			errs = append(errs, fmt.Errorf("peers::services::name: got none for %s, takes the name of the service", s.CIDR))
		}
		all = append(all, peer.Service{Prefix: prefix, Port: uint16(s.Port), Name: s.Name})
	}
	return all, errors.Join(errs...)
}

func (c *Config) validatePeers() error {
	_, err := c.Peers.services()
	errs := []error{err}
	choice, err := c.Peers.DNS.choice()
	if err == nil {
		if err = choice.Check(engines.All()); err != nil {
			err = fmt.Errorf("%w, on %s", err, runtime.GOOS)
		}
	}
	if err != nil {
		errs = append(errs, fmt.Errorf("peers::dns::%w", err))
	}
	if slices.Contains(c.Peers.MMDB, "") {
		errs = append(errs, errors.New(`peers::mmdb: got "", takes paths of files in MaxMind's format`))
	}
	if !c.Peers.Processes || !c.Process.Attribution {
		for _, list := range c.writtenAttributes() {
			if i := slices.IndexFunc(list.all, group.Attribute.OfPeerProcess); i >= 0 {
				errs = append(errs, fmt.Errorf("%s: got %s while peers::processes or process::attribution is false, takes it with both", list.key, list.all[i]))
			}
		}
	}
	return errors.Join(errs...)
}

// attributeList is a key of the configuration and what it lists.
type attributeList struct {
	key string
	all []group.Attribute
}

// writtenAttributes are the attributes of metrics that the user has chosen. What
// Validate refuses is not among them.
func (c *Config) writtenAttributes() (lists []attributeList) {
	if by, err := c.Groups.by(); err == nil && c.Groups.Enabled {
		lists = append(lists, attributeList{"groups::by", by})
	}
	if attributes, err := c.Connections.peerAttributes(); err == nil && c.Connections.Enabled {
		lists = append(lists, attributeList{"connections::peer_attributes", attributes})
	}
	return lists
}

// unwritten returns a warning for each part that is on and of which nothing is
// written or shown, and for what is to be written of a part that is off.
func (c *Config) unwritten() (warnings []string) {
	lists, dns := c.writtenAttributes(), c.Metrics.DNSLookupDuration.Enabled || c.Metrics.DNSQueries.Enabled
	for _, part := range []struct {
		key       string
		on        bool
		writtenBy []group.Attribute
	}{
		{"peers::services", len(c.Peers.Services) > 0, []group.Attribute{group.ServiceName}},
		{"peers::dns", c.Peers.DNS.Enabled && !dns && !slices.ContainsFunc(c.Detect.Enabled, wantsPackets), []group.Attribute{group.ServerAddress}},
		{"peers::nat", c.Peers.NAT, []group.Attribute{group.TranslatedAddress, group.TranslatedPort}},
		{"peers::mmdb", len(c.Peers.MMDB) > 0, []group.Attribute{group.Country, group.ASNumber, group.ASOrganization}},
	} {
		writes := func(list attributeList) bool {
			return slices.ContainsFunc(list.all, func(a group.Attribute) bool { return slices.Contains(part.writtenBy, a) })
		}
		if part.on && !slices.ContainsFunc(lists, writes) {
			warnings = append(warnings, fmt.Sprintf("%s: nothing of what it finds is written: add %s to groups::by", part.key, part.writtenBy[0]))
		}
	}
	return warnings
}

// unfed returns a warning for each metric of DNS that nothing is counted for.
func (c *Config) unfed() (warnings []string) {
	for _, metric := range []struct {
		name    string
		enabled bool
	}{
		{metadata.MetricsInfo.DNSLookupDuration.Name, c.Metrics.DNSLookupDuration.Enabled},
		{metadata.MetricsInfo.DNSQueries.Name, c.Metrics.DNSQueries.Enabled},
	} {
		switch {
		case !metric.enabled:
		case !c.Peers.DNS.Enabled:
			warnings = append(warnings, fmt.Sprintf("metrics::%s: nothing is counted while peers::dns::enabled is false", metric.name))
		case !c.System.Enabled:
			warnings = append(warnings, fmt.Sprintf("metrics::%s: nothing is written while system::enabled is false", metric.name))
		}
	}
	return warnings
}

// peers opens the files that the configuration names, and says the rest of it. The
// engine closes them.
//
// With records or a page, all that is found is written or shown.
func (c *Config) peers(log *zap.Logger, records bool) (engine.PeersConfig, error) {
	choice, err := c.Peers.DNS.choice()
	if err != nil {
		return engine.PeersConfig{}, fmt.Errorf("peers::dns::%w", err)
	}
	cfg := engine.PeersConfig{
		Processes:    c.Peers.Processes,
		Translations: c.Peers.NAT,
		Names:        c.Peers.DNS.Enabled,
		Choice:       choice,
		Engines:      engines.All(),
	}
	warnings := c.unfed()
	if !records && !c.Page.enabled() {
		warnings = append(warnings, c.unwritten()...)
	}
	for _, warning := range warnings {
		log.Warn(warning)
	}
	list, err := c.Peers.services()
	if err != nil {
		return cfg, err
	}
	if len(list) > 0 {
		cfg.Services, warnings = peer.NewServices(list)
		for _, warning := range warnings {
			log.Warn("peers::services: " + warning)
		}
	}
	if len(c.Peers.MMDB) > 0 {
		cfg.Places, err = peer.OpenPlaces(c.Peers.MMDB, func(path string, err error) {
			if err != nil {
				log.Warn("peers::mmdb: a file that has changed cannot be read; the one before it stays in use", zap.String("file", path), zap.Error(err))
				return
			}
			log.Info("peers::mmdb: a file that has changed was read again", zap.String("file", path))
		})
		if err != nil {
			return cfg, fmt.Errorf("peers::mmdb: %w", err)
		}
	}
	return cfg, nil
}
