// SPDX-License-Identifier: Apache-2.0

// Command healthcheck asks the collector's health_check extension how it is, for the
// image, which has no other program that could. It ends with 0 if all is well.
package main

import (
	"fmt"
	"net/http"
	"os"
	"time"
)

func main() {
	url := "http://127.0.0.1:13133/"
	if len(os.Args) > 1 {
		url = os.Args[1]
	}
	client := http.Client{Timeout: 3 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, url, "answers", response.Status)
		os.Exit(1)
	}
}
