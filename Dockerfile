# detr-hf on a CPU or a GPU:
#   docker build -t detr-hf .
#   docker run --rm --gpus all --shm-size 8g -v "$PWD:/data" detr-hf check my_photos
# Without a GPU, --build-arg TORCH_INDEX= with the address of PyTorch's CPU index saves several gigabytes.

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE hub_card.md ./
COPY tools/package_metadata.py tools/
COPY recipes recipes
COPY docs docs
COPY detr_hf detr_hf
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
ARG TORCH_INDEX=
RUN pip install --no-cache-dir "torch>=2.6,<3" torchvision ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir /wheels/*.whl && rm -r /wheels
RUN useradd --create-home detr && mkdir /data && chown detr /data
USER detr
WORKDIR /data
ENTRYPOINT ["detr-hf"]
CMD ["--help"]
