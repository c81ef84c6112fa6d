"""YAML as users write it: plain values, no name twice, neither long nor deep."""

from typing import Any

import yaml

from calm.errors import CalmError

LONGEST = 100_000  # characters
MOST_DIGITS = 18  # of a whole number


class Loader(yaml.SafeLoader):
    """Refuses what is a mistake or an attack in a few settings."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """No aliases: a few of them stand for millions of values."""
        if self.check_event(yaml.AliasEvent):
            raise refusal("an alias (`*name`)", self.peek_event().start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """No key twice: the first value would be lost without a word."""
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        for place, name in enumerate(names):
            if name in names[:place]:
                raise refusal(f"the key `{name}` twice", node.value[place][0].start_mark)
        return super().construct_mapping(node, deep)

    def construct_whole_number(self, node: Any) -> int:
        """No number that nothing here can be."""
        if len(node.value) > MOST_DIGITS:
            raise refusal(f"a number of more than {MOST_DIGITS} digits", node.start_mark)
        return super().construct_yaml_int(node)


Loader.add_constructor("tag:yaml.org,2002:int", Loader.construct_whole_number)


def refusal(what: str, mark: yaml.Mark) -> yaml.MarkedYAMLError:
    """An error of YAML's own kind."""
    return yaml.constructor.ConstructorError(None, None, f"it has {what}", mark)


def parse_yaml(text: str | bytes, where: object) -> Any:
    """Values from YAML; `where` says in messages whose it is.

    Raises:
        CalmError: it is no YAML, too long or too deep; or it has an alias, a key twice, an impossible date or number.
    """
    if len(text) > LONGEST:
        raise CalmError(f"{where} has {len(text):,} characters, more than {LONGEST:,}: shorten it.")
    try:
        return Loader(text).get_single_data()
    except RecursionError:
        raise CalmError(f"{where} is not valid YAML here, its brackets are too deep: correct it.") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of the 31st of February
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None) or error
        line = f", line {mark.line + 1}" if mark else ""
        raise CalmError(f"{where} is not valid YAML{line} ({problem}): correct it.") from None
