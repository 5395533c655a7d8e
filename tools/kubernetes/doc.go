// SPDX-License-Identifier: Apache-2.0

// Package kubernetes has the tests of examples/kubernetes: kustomize builds each overlay,
// the API's own types read what comes out, and the distribution validates the
// configurations in it.
package kubernetes
