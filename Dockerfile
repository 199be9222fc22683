# `make image` builds the same image without Docker. The Makefile says what the tag is for.
# The Go image runs on the builder's own platform and compiles for the target's.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src

COPY go.mod go.sum ./
RUN go mod download

COPY api/ api/
COPY cmd/credential-process/ cmd/credential-process/
COPY cmd/manager/ cmd/manager/
COPY controllers/ controllers/
ARG TARGETOS TARGETARCH
ARG VERSION=dev
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -tags grpcnotrace -ldflags "-s -w -X main.version=$VERSION" -o /manager ./cmd/manager \
 && CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w" -o /credential-process ./cmd/credential-process

# The manager needs no other file: it has certificates of authorities in it, for where there are none.
FROM scratch
COPY --from=build /manager /manager
# For init containers of others: see docs/formats.md.
COPY --from=build /credential-process /credential-process
USER 65532:65532
ENTRYPOINT ["/manager"]
