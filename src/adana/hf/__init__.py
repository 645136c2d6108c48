"""The models in Hugging Face transformers: importing this registers them with its Auto classes.

    import adana.hf
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained("exported/")
    tokenizer = AutoTokenizer.from_pretrained("exported/")

The very modules of `adana.nn` compute; nothing is implemented twice, no code is loaded from a
model's folder and nothing in it is a pickle. Needs the extra `hf`: `pip install "adana[hf]"`.
"""

try:
    import transformers
except ImportError as error:
    raise ImportError(
        'adana.hf needs transformers, which is not installed: pip install "adana[hf]"',
        name="transformers",
    ) from error

from adana.hf.config import AdanaConfig
from adana.hf.export import export_model
from adana.hf.model import AdanaForCausalLM

__all__ = ["AdanaConfig", "AdanaForCausalLM", "export_model"]

transformers.AutoConfig.register(AdanaConfig.model_type, AdanaConfig, exist_ok=True)
transformers.AutoModelForCausalLM.register(AdanaConfig, AdanaForCausalLM, exist_ok=True)
