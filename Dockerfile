# syntax=docker/dockerfile:1

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --profile dist --locked \
    && cp target/dist/space-events /usr/local/bin/space-events

# The C library, the certificates that TLS trusts, a user that is not root
# (65532); no shell.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/space-events /usr/local/bin/space-events
# There is no Postgres in here, so DATABASE_URL is needed. API_KEYS are needed too, because
# the loopback of a container cannot be reached from outside.
ENV HOST=0.0.0.0
EXPOSE 5403
USER 65532
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s \
    CMD ["/usr/local/bin/space-events", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/space-events"]
