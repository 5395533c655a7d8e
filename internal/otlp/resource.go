// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"cmp"
	"iter"
	"reflect"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/filter"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/netns"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// creationTime is ISO 8601 with what the kernel's clock ticks tell.
const creationTime = "2006-01-02T15:04:05.00Z"

// resources makes the resource of each process, and applies the filters on
// resource attributes.
type resources struct {
	builder *metadata.ResourceBuilder
	filters []attributeFilter
}

// attributeFilter is metrics_include and metrics_exclude of a resource attribute.
type attributeFilter struct {
	name             string
	include, exclude filter.Filter // nil: none
}

func newResources(cfg metadata.ResourceAttributesConfig) resources {
	r := resources{builder: metadata.NewResourceBuilder(cfg)}
	// The generated code applies them to what it writes itself, and to no other
	// code's metrics; its configuration has a field for each attribute.
	all := reflect.ValueOf(cfg)
	for i := range all.NumField() {
		attribute := all.Field(i).Interface().(metadata.ResourceAttributeConfig)
		f := attributeFilter{name: all.Type().Field(i).Tag.Get("mapstructure")}
		if attribute.MetricsInclude != nil {
			f.include = filter.CreateFilter(attribute.MetricsInclude)
		}
		if attribute.MetricsExclude != nil {
			f.exclude = filter.CreateFilter(attribute.MetricsExclude)
		}
		if f.include != nil || f.exclude != nil {
			r.filters = append(r.filters, f)
		}
	}
	return r
}

// pass reports whether the user's filters let the metrics of a resource, or a
// group with these attributes, pass. What is asked for by an attribute's value is
// not what does not have the attribute.
func (r *resources) pass(attrs pcommon.Map) bool {
	for _, f := range r.filters {
		value, has := attrs.Get(f.name)
		if f.include != nil && (!has || !f.include.Matches(value.AsString())) {
			return false
		}
		if f.exclude != nil && has && f.exclude.Matches(value.AsString()) {
			return false
		}
	}
	return true
}

// holder is whose resource something belongs to: a process's, or for nil that of
// a network namespace or the host.
type holder struct {
	process   *process.Process
	namespace uint64
}

// of returns the resource of a process, or of nobody's sockets, at a place.
func (r *resources) of(p *process.Process, at netns.Place) pcommon.Resource {
	if at.Namespace != 0 {
		r.builder.SetNetworkNamespaceID(int64(at.Namespace))
		set(r.builder.SetNetworkNamespaceName, at.Name)
	}
	if p == nil {
		set(r.builder.SetContainerID, at.ContainerID)
	} else {
		r.builder.SetProcessPid(int64(p.PID))
		r.builder.SetProcessParentPid(int64(p.ParentPID))
		r.builder.SetProcessCreationTime(p.Created.UTC().Round(10 * time.Millisecond).Format(creationTime))
		set(r.builder.SetProcessExecutableName, p.Executable)
		set(r.builder.SetProcessCommand, p.Command)
		set(r.builder.SetProcessOwner, p.Owner)
		set(r.builder.SetProcessLinuxCgroup, p.Cgroup)
		set(r.builder.SetContainerID, p.ContainerID)
		if p.JailID != 0 {
			r.builder.SetProcessFreebsdJailID(int64(p.JailID))
		}
	}
	return r.builder.Emit()
}

// destination is where the points of a holder go.
type destination struct {
	key      holder // equal for all that have the same resource
	resource pcommon.Resource
	// process are the attributes of the process, where they go on each point.
	process pcommon.Map
}

// destination returns where the points of a holder go, and whether the filters on
// resource attributes let them pass. Those apply wherever the attributes are.
func (w *Writer) destination(h holder) (to destination, pass bool) {
	at := w.place(h.namespace)
	to = destination{key: h, resource: w.resources.of(h.process, at), process: pcommon.NewMap()}
	if !w.resources.pass(to.resource.Attributes()) {
		return to, false
	}
	if w.processOnPoints && h.process != nil {
		all := to.resource.Attributes()
		to.key.process, to.resource = nil, w.resources.of(nil, at)
		for name, value := range all.All() {
			if !strings.HasPrefix(name, "network.") {
				value.CopyTo(to.process.PutEmpty(name))
			}
		}
	}
	return to, true
}

func putAll(attrs, more pcommon.Map) {
	for name, value := range more.All() {
		value.CopyTo(attrs.PutEmpty(name))
	}
}

// set sets what is known.
func set(setter func(string), value string) {
	if value != "" {
		setter(value)
	}
}

// compare brings those of one holder together, and those of no process first.
func (h holder) compare(other holder) int {
	p, q := h.process, other.process
	switch {
	case h.namespace != other.namespace:
		return cmp.Compare(h.namespace, other.namespace)
	case p == q:
		return 0
	case p == nil:
		return -1
	case q == nil:
		return 1
	}
	return cmp.Or(cmp.Compare(p.PID, q.PID), p.Created.Compare(q.Created))
}

// ofEachHolder cuts a slice that is sorted by holder into those of one each.
func ofEachHolder[T any](sorted []T, of func(T) holder) iter.Seq2[holder, []T] {
	return func(yield func(holder, []T) bool) {
		for rest := sorted; len(rest) > 0; {
			h := of(rest[0])
			n := slices.IndexFunc(rest, func(t T) bool { return of(t) != h })
			if n < 0 {
				n = len(rest)
			}
			if !yield(h, rest[:n]) {
				return
			}
			rest = rest[n:]
		}
	}
}
