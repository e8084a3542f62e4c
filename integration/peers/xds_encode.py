"""Turns xDS resources from Envoy's JSON into bytes, the same for whoever gets them.

Reads a JSON list of messages, each with its "@type", from standard input; writes a line of hexadecimal digits for each.
Unknown fields and types end it with an error that says which message and why.
"""
import importlib
import json
import pathlib
import sys

from google.protobuf import json_format, symbol_database

PREFIX = "type.googleapis.com/"


def types(value) -> set:
    """Every type that is named in a message or below it."""
    if isinstance(value, list):
        return set().union(*map(types, value))
    if isinstance(value, dict):
        named = {value["@type"].removeprefix(PREFIX)} if "@type" in value else set()
        return named.union(*map(types, value.values()))
    return set()


def load(package: str) -> None:
    """Makes the messages of a package known."""
    folder = package.replace(".", "/")
    for root in sys.path:
        for file in sorted(pathlib.Path(root, folder).glob("*_pb2.py")):
            importlib.import_module(f"{package}.{file.stem}")


def encode(message: dict) -> str:
    name = message.pop("@type").removeprefix(PREFIX)
    kind = symbol_database.Default().GetSymbol(name)
    return json_format.ParseDict(message, kind()).SerializeToString(deterministic=True).hex()


def main() -> int:
    messages = json.load(sys.stdin)
    for package in sorted({name.rpartition(".")[0] for name in types(messages)}):
        load(package)
    for message in messages:
        name = message.get("name", "?")
        try:
            print(encode(message))
        except (json_format.ParseError, KeyError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
