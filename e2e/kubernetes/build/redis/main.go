// A server that speaks Redis's protocol and keeps everything in memory: what Argo CD's parts talk to each other through.
package main

import (
	"flag"
	"log"
	"os"
	"time"

	"github.com/alicebob/miniredis/v2"
)

func main() {
	address := flag.String("address", "127.0.0.1:6379", "where it listens")
	flag.Parse()
	server := miniredis.NewMiniRedis()
	if password := os.Getenv("REDIS_PASSWORD"); password != "" {
		server.RequireAuth(password)
	}
	if err := server.StartAddr(*address); err != nil {
		log.Fatal(err)
	}
	// Its keys grow old only when it is told that time passes.
	for range time.Tick(time.Second) {
		server.FastForward(time.Second)
	}
}
