# The server of the cups alone, without fastai and PyTorch: some 100 MB.
#   docker build -f deploy/cups.Dockerfile -t cups . \
#     && docker run -p 8765:8765 -v cups:/data -e FASTMAGIC_CUPS_KEY=word cups --public https://cups.example.org --proxies '*'
# It speaks plain HTTP: put a proxy with TLS in front, and let nobody else reach the port (--proxies '*' believes whoever does).
FROM python:3.12-slim
COPY . /src
RUN pip install --no-cache-dir filelock redis requests segno starlette "uvicorn[standard]" websockets \
    && pip install --no-cache-dir --no-deps /src && rm -r /src \
    && useradd --create-home cups && mkdir /data && chown cups /data
USER cups
VOLUME /data
EXPOSE 8765
ENTRYPOINT ["fastmagic", "cups", "serve", "--host", "0.0.0.0", "--store", "/data/cups.db"]
