module keelson.dev/e2e/source-controller

go 1.26.0

tool github.com/fluxcd/source-controller

require github.com/fluxcd/source-controller v1.3.0

replace (
	github.com/fluxcd/source-controller/api => github.com/fluxcd/source-controller/api v1.3.0
	// BLAKE3, as source-controller's own go.mod has it.
	github.com/opencontainers/go-digest => github.com/opencontainers/go-digest v1.0.1-0.20220411205349-bde1400a84be
)
