// SPDX-License-Identifier: LGPL-2.1-or-later
// An example client for backup servers in Go without dependencies; README.md describes its arguments.
package main

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"strconv"
)

const tries = 3

type answer struct {
	Error      string          `json:"error"`
	Parameters json.RawMessage `json:"parameters"`
}

type started struct {
	JobID   int64  `json:"job_id"`
	Allowed bool   `json:"allowed"`
	Reason  string `json:"reason"`
}

// call sends a request, and sends it again with the same request_id if the connection was lost.
func call(path, method string, parameters map[string]any, result any) error {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	parameters["request_id"] = hex.EncodeToString(id)
	request, err := json.Marshal(map[string]any{"method": method, "parameters": parameters})
	if err != nil {
		return err
	}
	var got answer
	for tried := 1; ; tried++ {
		got, err = exchange(path, append(request, 0))
		if err == nil || tried == tries {
			break
		}
	}
	if err != nil {
		return err
	}
	if got.Error != "" {
		return fmt.Errorf("%s: %s", got.Error, got.Parameters)
	}
	return json.Unmarshal(got.Parameters, result)
}

func exchange(path string, request []byte) (got answer, err error) {
	connection, err := net.Dial("unix", path)
	if err != nil {
		return got, err
	}
	defer connection.Close()
	if _, err = connection.Write(request); err != nil {
		return got, err
	}
	text, err := bufio.NewReader(connection).ReadBytes(0)
	if err != nil {
		return got, err
	}
	return got, json.Unmarshal(text[:len(text)-1], &got)
}

func number(word string) int64 {
	value, err := strconv.ParseInt(word, 10, 64)
	if err != nil {
		fail(err)
	}
	return value
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func main() {
	path, words := os.Args[1], os.Args[2:]
	if words[0] == "end" {
		err := call(path, "io.hookd.Jobs.EndJob", map[string]any{
			"job_id": number(words[1]), "file_count": number(words[2]),
			"byte_count": number(words[3]), "outcome": words[4],
		}, &struct{}{})
		if err != nil {
			fail(err)
		}
		return
	}
	var job started
	err := call(path, "io.hookd.Jobs.StartJob", map[string]any{
		"profile": words[1], "user": words[2], "client_ip": words[3], "client_build_no": words[4],
	}, &job)
	if err != nil {
		fail(err)
	}
	if !job.Allowed {
		fmt.Fprintln(os.Stderr, "refused:", job.Reason)
		os.Exit(75)
	}
	fmt.Println(job.JobID)
}
