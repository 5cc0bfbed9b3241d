"""The page of `detr-hf app`: an image or a video in, what the model sees out.

`viewer` holds what one visitor looks at, `tables` lists it, `page` is the Gradio page around them, `serve`
opens it, `space` writes it as a Hugging Face Space.
"""

import os

# Gradio reads these when it is imported, which only the modules of this package do.
os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
