// SPDX-License-Identifier: Apache-2.0

package main

// part is a process of the demo.
type part struct {
	name string
	act  []string
}

// demo is a small shop: a web server with clients, what it asks, a database with a
// reader that is behind, and a monitoring system. It moves some megabytes a second.
func demo(a addresses) []part {
	return []part{
		{"postgres", []string{"serve", a.db + ":5432", "2600"}},
		{"nginx", []string{"serve", a.web + ":443", "14000"}},
		{"checkout", checkoutAct(a)},
		{"node_exporter", []string{"serve", a.db + ":9100", "52000"}},
		{"audit", []string{"neglect", a.db + ":6514", "40"}},
		{"curl", []string{"ask", a.clients, a.web + ":443", "48", "700", "180"}},
		{"curl", []string{"visit", a.clients, a.web + ":443", "3", "700", "900"}},
		{"nginx", []string{"ask", a.web, a.api + ":8443", "12", "1800", "120"}},
		{"checkout", []string{"ask", a.api, a.db + ":5432", "16", "420", "60"}},
		{"reports", []string{"ask", a.reports, a.db + ":5432", "4", "30000", "40"}},
		{"prometheus", []string{"ask", a.reports, a.db + ":9100", "3", "200", "1000"}},
		{"checkout", []string{"visit", a.api, a.reports + ":8125", "2", "1", "700"}},
		{"rsyslogd", []string{"hold", a.api, a.db + ":6514", "33", "120"}},
	}
}

// checkoutAct is what the service does that nginx asks.
func checkoutAct(a addresses) []string { return []string{"serve", a.api + ":8443", "900"} }
