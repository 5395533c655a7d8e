// SPDX-License-Identifier: Apache-2.0

package receiver

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/confignet"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/config/configtls"

	"github.com/netpulse/tcpstatsreceiver/internal/page"
)

// PageConfig says where the live page is served, and how far back it goes. Its
// keys are those of confighttp.ServerConfig that mean something for a page that only
// shows.
type PageConfig struct {
	// Endpoint is an address and a port, or with transport unix a path; "": no page.
	Endpoint string `mapstructure:"endpoint"`
	// Transport is tcp, tcp4, tcp6 or unix.
	Transport confignet.TransportType `mapstructure:"transport"`
	// TLS and Auth are the collector's own.
	TLS  configoptional.Optional[configtls.ServerConfig] `mapstructure:"tls"`
	Auth configoptional.Optional[confighttp.AuthConfig]  `mapstructure:"auth"`
	// History is how long the page remembers totals.
	History time.Duration `mapstructure:"history"`
}

// maxPageHistory bounds what the page remembers.
const maxPageHistory = 24 * time.Hour

func createDefaultPageConfig() PageConfig {
	return PageConfig{Transport: confignet.TransportTypeTCP, History: 10 * time.Minute}
}

func (c *PageConfig) enabled() bool { return c.Endpoint != "" }

func (c *PageConfig) validate() error {
	var errs []error
	if c.History <= 0 || c.History > maxPageHistory {
		errs = append(errs, fmt.Errorf("page::history: got %s, takes more than 0s and at most %s", c.History, maxPageHistory))
	}
	if !c.enabled() {
		return errors.Join(errs...)
	}
	switch c.Transport {
	case confignet.TransportTypeTCP, confignet.TransportTypeTCP4, confignet.TransportTypeTCP6:
		_, port, err := net.SplitHostPort(c.Endpoint)
		if err == nil {
			_, err = strconv.ParseUint(port, 10, 16)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("page::endpoint: got %q, takes an address and a port, such as 127.0.0.1:8890", c.Endpoint))
		}
	case confignet.TransportTypeUnix:
	default:
		errs = append(errs, fmt.Errorf("page::transport: got %q, takes tcp, tcp4, tcp6 or unix", c.Transport))
	}
	return errors.Join(errs...)
}

func (c *PageConfig) server() confighttp.ServerConfig {
	server := confighttp.NewDefaultServerConfig()
	server.NetAddr.Endpoint, server.NetAddr.Transport = c.Endpoint, c.Transport
	server.TLS, server.Auth = c.TLS, c.Auth
	return server
}

// newPage returns the page of the configuration, nil if it has none.
func (r *tcpStats) newPage() *page.Page {
	if !r.cfg.Page.enabled() {
		return nil
	}
	if len(r.cfg.Detect.Enabled) > 0 {
		r.pageFindings = make(chan page.Finding, maxFindings)
	}
	return page.New(page.Config{
		Findings: r.pageFindings,
		Server:   r.cfg.Page.server(), History: r.cfg.Page.History, Interval: r.cfg.CollectionInterval,
		Version: r.set.BuildInfo.Version, Telemetry: r.set.TelemetrySettings,
	})
}
