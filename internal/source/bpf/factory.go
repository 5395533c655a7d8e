package bpf

const (
	name = "bpf"
	rank = 30
)
