"""What the entries of ``data_manifest.yaml`` share: types of values, variables, error messages."""

from __future__ import annotations

import os
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Self, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")


def expand(value: Any) -> Any:
    """``value`` with ``${NAME}`` and ``${NAME:-default}`` replaced in every string below it.

    As in a shell, an empty variable counts as not set. ``${NAME}`` stays where NAME is not set.
    """
    if isinstance(value, str):
        return VARIABLE.sub(_value_of, value)
    if isinstance(value, dict):
        return {key: expand(inner) for key, inner in value.items()}
    return [expand(inner) for inner in value] if isinstance(value, list) else value


def _value_of(match: re.Match) -> str:
    name, default = match.groups()
    return os.environ.get(name) or (match[0] if default is None else default)


def unset_variable(text: str) -> str:
    """The first variable that ``text`` still names, "" if there is none."""
    match = VARIABLE.search(text)
    return match[1] if match else ""


def _inside(path: str) -> str:
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\\" in path:
        raise ValueError("a path below its folder wanted, relative, with forward slashes")
    return path


def _expanded(text: str) -> str:
    if unset := unset_variable(text):
        raise ValueError(f"variable {unset} is not set; set it, or write ${{{unset}:-default}}")
    return text


def _unique(names: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(names)) != len(names) or not names:
        raise ValueError("at least one name, and none twice, wanted")
    return names


Text = Annotated[str, Field(min_length=1)]
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_+-]*$")]
Url = Annotated[str, Field(pattern=r"^https?://\S+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
RelativePath = Annotated[
    str, Field(min_length=1), AfterValidator(_inside), AfterValidator(_expanded)
]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Count = Annotated[int, Field(ge=1)]
Unique = AfterValidator(_unique)  # of a tuple of names


class Entry(BaseModel):
    """A mapping in the manifest. Unknown keys are refused; an error says what is allowed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @model_validator(mode="wrap")
    @classmethod
    def _explain(cls, values: Any, validate: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return validate(values)
        except ValidationError as error:
            faults = [_explained(fault, cls) for fault in error.errors()]
            raise ValidationError.from_exception_data(cls.__name__, faults) from error


def _explained(fault: ErrorDetails, model: type[BaseModel]) -> InitErrorDetails:
    """A fault in our words; ``at`` in its context is the place below the one that is named."""
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        message = f"unknown key; allowed are {', '.join(model.model_fields)}"
    elif fault["type"] == "missing":
        message = "is missing"
    elif fault["type"] != "explained":
        message += _found(fault["input"]) if "is not set" not in message else ""
    location = (*fault["loc"], *fault.get("ctx", {}).get("at", ()))
    explained = PydanticCustomError("explained", "{message}", {"message": message})
    return {"type": explained, "loc": location, "input": fault["input"]}


def _found(value: object) -> str:
    if not isinstance(value, str | int | float):
        return ""
    unset = unset_variable(str(value))
    return f"; found {value!r}" + (f": variable {unset} is not set" if unset else "")


def one_of(key: str, *models: type[Entry]) -> WrapValidator:
    """A validator of mappings: the value of ``key`` says which of the models describes one.

    Pydantic's own discriminated unions put the chosen model into the location of an error.
    """
    by_value = {
        value: model for model in models for value in get_args(model.model_fields[key].annotation)
    }
    allowed = f"allowed are {', '.join(by_value)}"

    def choose(entry: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Entry:
        if isinstance(entry, models):
            return entry
        if not isinstance(entry, dict):
            raise PydanticCustomError("mapping", "a mapping wanted")
        value = str(entry.get(key, ""))
        if value in by_value:
            return by_value[value].model_validate(entry, context=info.context)
        message = f"unknown; {allowed}{_found(value)}" if key in entry else f"is missing; {allowed}"
        raise PydanticCustomError("choice", "{message}", {"message": message, "at": (key,)})

    return WrapValidator(choose)
