// Package scenario is what the programs of this directory share: running scenarios, showing what they find as JSON, and
// the scenarios for which a driver need only run statements.
package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"
)

const (
	limit      = 40 * time.Second
	closeLimit = 5 * time.Second
)

// Settings are run-time parameters of the start-up packet, "options" among them.
type Settings map[string]string

// Client is one connection.
type Client interface {
	// Rows runs a statement in the driver's ordinary way and returns its rows, each value as `Show` makes it.
	Rows(ctx context.Context, sql string, args ...any) ([][]any, error)
	Close(ctx context.Context) error
}

// Driver is what a program brings along. Fault shows an error.
type Driver struct {
	Open  func(ctx context.Context, settings Settings) (Client, error)
	Fault func(err error) any
}

// Scenario returns its outcome, and panics where it cannot.
type Scenario func(t *T) any

// T is one run of a scenario. Its context ends when the time for it is over.
type T struct {
	context.Context
	driver  Driver
	clients []Client
}

// Open connects. The connection is closed after the scenario.
func (t *T) Open(settings Settings) Client {
	return t.Keep(Value(t.driver.Open(t, settings)))
}

// Keep closes a client after the scenario.
func (t *T) Keep(client Client) Client {
	t.clients = append(t.clients, client)
	return client
}

// Rows runs a statement that must succeed.
func (t *T) Rows(client Client, sql string, args ...any) [][]any {
	rows, err := client.Rows(t, sql, args...)
	if err != nil {
		panic(fmt.Errorf("%s: %w", sql, err))
	}
	return rows
}

// One is the first value of the first row of a statement that must succeed.
func (t *T) One(client Client, sql string, args ...any) any {
	return t.Rows(client, sql, args...)[0][0]
}

// Try runs a statement and returns its rows or what `Fault` shows of its error.
func (t *T) Try(client Client, sql string, args ...any) any {
	rows, err := client.Rows(t, sql, args...)
	if err != nil {
		return t.Fault(err)
	}
	return rows
}

// Fault shows an error; nil where there is none.
func (t *T) Fault(err error) any {
	if err == nil {
		return nil
	}
	return t.driver.Fault(err)
}

// Until waits until `look` returns true: for what another connection is about to show.
func (t *T) Until(look func() bool) {
	for !look() {
		Must(t.Err())
		time.Sleep(20 * time.Millisecond)
	}
}

// Stopped runs a query that sleeps, and `stop` as soon as another client sees it sleep; what the query returns.
func (t *T) Stopped(observer Client, query func() any, stop func()) any {
	end := make(chan any, 1)
	go func() { end <- query() }()
	const sleeping = "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
	t.Until(func() bool { return t.One(observer, sleeping) == "1" })
	stop()
	return <-end
}

// Together calls a function with 0 to count-1 at the same time.
func Together(count int, call func(index int)) {
	var group sync.WaitGroup
	faults := make([]any, count)
	for index := range count {
		group.Go(func() {
			defer func() { faults[index] = recover() }()
			call(index)
		})
	}
	group.Wait()
	for _, fault := range faults {
		if fault != nil {
			panic(fault)
		}
	}
}

// Must panics with an error.
func Must(err error) {
	if err != nil {
		panic(err)
	}
}

// Value panics with an error, or passes a value on.
func Value[V any](value V, err error) V {
	Must(err)
	return value
}

// Main runs the scenarios named on the command line, or all, and prints a line for each. One that panics or hangs
// prints none; the others still run, and the exit code is 1.
func Main(driver Driver, scenarios map[string]Scenario) {
	names := os.Args[1:]
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(scenarios))
	}
	failed := false
	for _, name := range names {
		outcome, err := run(driver, scenarios[name])
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			failed = true
			continue
		}
		line := Value(json.Marshal(map[string]any{"scenario": name, "outcome": outcome}))
		fmt.Println(string(line))
	}
	if failed {
		os.Exit(1)
	}
}

func run(driver Driver, scenario Scenario) (outcome any, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	t := &T{Context: ctx, driver: driver}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if fault := recover(); fault != nil {
				err = fmt.Errorf("%v\n%s", fault, debug.Stack())
			}
		}()
		outcome = scenario(t)
	}()
	select {
	case <-done:
	case <-time.After(limit + closeLimit):
		return nil, fmt.Errorf("not done within %v", limit)
	}
	closing, cancelClosing := context.WithTimeout(context.Background(), closeLimit)
	defer cancelClosing()
	for _, client := range t.clients {
		_ = client.Close(closing) // it may be lost, as some scenarios want it
	}
	return outcome, err
}
