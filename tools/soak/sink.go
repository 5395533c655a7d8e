// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // the exporter compresses
	"google.golang.org/grpc/status"
)

// A sink is the backend: it remembers the last value of each counter of closes, and does
// what backends do.
type sink struct {
	pmetricotlp.UnimplementedGRPCServer
	endpoint string

	mu      sync.Mutex
	server  *grpc.Server
	hanging chan struct{} // closed when it is over; nil: answer at once
	refuse  bool
	batches int
	// The last value of each stream of the metric tcp.closes: a reload begins new ones.
	last map[stream]int64
}

// A stream is one series from one start.
type stream struct {
	start pcommon.Timestamp
	role  string
	port  int64
	name  string // of the executable
}

func listen() (*sink, error) {
	s := &sink{last: make(map[stream]int64)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s.endpoint = listener.Addr().String()
	s.serve(listener)
	return s, nil
}

func (s *sink) serve(listener net.Listener) {
	server := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(server, s)
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go server.Serve(listener)
}

// Export takes a batch, or does not.
func (s *sink) Export(ctx context.Context, request pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	s.mu.Lock()
	hanging, refuse := s.hanging, s.refuse
	s.mu.Unlock()
	if hanging != nil {
		select {
		case <-hanging:
		case <-ctx.Done():
			return pmetricotlp.NewExportResponse(), ctx.Err()
		}
	}
	if refuse {
		return pmetricotlp.NewExportResponse(), status.Error(codes.Unavailable, "no room")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.batches++
	for _, resource := range request.Metrics().ResourceMetrics().All() {
		for _, scope := range resource.ScopeMetrics().All() {
			for _, metric := range scope.Metrics().All() {
				if metric.Name() == "tcp.closes" && metric.Type() == pmetric.MetricTypeSum {
					s.remember(metric.Sum().DataPoints())
				}
			}
		}
	}
	return pmetricotlp.NewExportResponse(), nil
}

func (s *sink) remember(points pmetric.NumberDataPointSlice) {
	for _, point := range points.All() {
		if point.Flags().NoRecordedValue() {
			continue
		}
		of := stream{start: point.StartTimestamp()}
		if role, ok := point.Attributes().Get("tcp.role"); ok {
			of.role = role.Str()
		}
		if port, ok := point.Attributes().Get("server.port"); ok {
			of.port = port.Int()
		}
		if name, ok := point.Attributes().Get("process.executable.name"); ok {
			of.name = name.Str()
		}
		// Batches that were sent again after a hang may come out of order.
		s.last[of] = max(s.last[of], point.IntValue())
	}
}

// closes is how many connections to a port have ended, as the server's side counted.
func (s *sink) closes(port int) (total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for of, value := range s.last {
		if of.role == "server" && of.port == int64(port) {
			total += value
		}
	}
	return total
}

// first waits for the first batch.
func (s *sink) first(ctx context.Context, patience time.Duration) error {
	for end := time.Now().Add(patience); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
		s.mu.Lock()
		got := s.batches
		s.mu.Unlock()
		if got > 0 {
			return nil
		}
	}
	return errors.Join(fmt.Errorf("nothing arrived within %s", patience), ctx.Err())
}

// hang keeps all batches waiting until it is called back.
func (s *sink) hang() (over func()) {
	released := make(chan struct{})
	s.mu.Lock()
	s.hanging = released
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.hanging = nil
		s.mu.Unlock()
		close(released)
	}
}

// refuses refuses all batches until it is called back.
func (s *sink) refuses() (over func()) {
	set := func(to bool) {
		s.mu.Lock()
		s.refuse = to
		s.mu.Unlock()
	}
	set(true)
	return func() { set(false) }
}

// leave closes its port until it is called back.
func (s *sink) leave() (back func() error) {
	s.mu.Lock()
	server := s.server
	s.mu.Unlock()
	server.Stop()
	return func() error {
		listener, err := net.Listen("tcp", s.endpoint)
		if err != nil {
			return fmt.Errorf("the backend cannot come back: %w", err)
		}
		s.serve(listener)
		return nil
	}
}

func (s *sink) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server.Stop()
}
