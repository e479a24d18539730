"""In which type an exported model keeps its weights."""

from enum import Enum


class Quantization(Enum):
    """The type of weights, by the short names of this project; the value is CTranslate2's name."""

    fp32 = "float32"
    fp16 = "float16"
    bf16 = "bfloat16"
    int8 = "int8"
    int16 = "int16"
