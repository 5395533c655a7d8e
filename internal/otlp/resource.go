package otlp

import (
	"cmp"
	"iter"
	"slices"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/receiver"

	"github.com/netpulse/tcpstatsreceiver/internal/metadata"
	"github.com/netpulse/tcpstatsreceiver/internal/process"
)

// creationTime is ISO 8601 with what the kernel's clock ticks tell.
const creationTime = "2006-01-02T15:04:05.00Z"

// resources makes the resource of each process.
type resources struct {
	builder *metadata.ResourceBuilder
	// filter applies metrics_include and metrics_exclude: it emits its one metric
	// only for a resource that passes them.
	filter *metadata.MetricsBuilder
}

func newResources(cfg metadata.ResourceAttributesConfig, set receiver.Settings) resources {
	one := metadata.MetricsBuilderConfig{ResourceAttributes: cfg}
	one.Metrics.SystemNetworkTCPOrphans.Enabled = true
	return resources{builder: metadata.NewResourceBuilder(cfg), filter: metadata.NewMetricsBuilder(one, set)}
}

// holder is whose resource something belongs to: a process's, or for nil that of
// a network namespace or the host.
type holder struct {
	process   *process.Process
	namespace uint64
}

// of returns the resource of a holder, whose namespace may be at a place, and
// whether the user's filters let it pass.
func (r *resources) of(p *process.Process, at Place) (res pcommon.Resource, wanted bool) {
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
	res = r.builder.Emit()
	r.filter.RecordSystemNetworkTCPOrphansDataPoint(0, 0)
	return res, r.filter.Emit(metadata.WithResource(res)).ResourceMetrics().Len() > 0
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
