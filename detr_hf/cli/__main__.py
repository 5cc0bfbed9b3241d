"""``python -m detr_hf.cli``, for `accelerate launch`."""

from detr_hf.cli import main

if __name__ == "__main__":
    main()
